"""Training: RL of the synthesizer, and (nano) the embedded family."""

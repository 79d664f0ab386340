"""The family's architecture (Qwen3 at four widths) and the optimizer that trains it."""

import torch
from transformers import PreTrainedTokenizerBase, Qwen3Config, Qwen3ForCausalLM

# One dial: the hidden width. Depth is fixed, heads are 32 wide, the MLP is three times the width.
FAMILY = {"nano-48": 48, "nano-64": 64, "nano-96": 96, "nano-128": 128}
LAYERS = 4


def build(width: int, tokenizer: PreTrainedTokenizerBase, seed: int) -> Qwen3ForCausalLM:
    """A randomly initialised Qwen3 of `width` hidden units; `seed` fixes the initial weights."""
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=LAYERS,
        num_attention_heads=-(-width // 32),
        num_key_value_heads=-(-width // 32),
        head_dim=32,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return Qwen3ForCausalLM(config)


class Muon(torch.optim.Optimizer):
    """Muon (Jordan et al. 2024) in float32 for hidden matrices, those of one shape together.

    torch.optim.Muon does the same with its Newton-Schulz iteration in bfloat16, which processors
    without bfloat16 units emulate: there a step would take longer than the gradient.
    """

    def __init__(self, params, lr: float = 0.02, momentum: float = 0.95, steps: int = 5):
        super().__init__(params, {"lr": lr, "momentum": momentum, "steps": steps})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[torch.Tensor]] = {}
            for p in group["params"]:
                by_shape.setdefault(p.shape, []).append(p)
            for shape, params in by_shape.items():
                buffers = [self.state[p].setdefault("momentum", torch.zeros_like(p)) for p in params]
                grads = [p.grad for p in params]
                torch._foreach_lerp_(buffers, grads, 1 - group["momentum"])
                nesterov = torch.stack(torch._foreach_lerp(grads, buffers, group["momentum"]))
                update = orthogonalise(nesterov, group["steps"]) * max(1.0, shape[0] / shape[1]) ** 0.5
                torch._foreach_add_(params, list(update.unbind()), alpha=-group["lr"])


def orthogonalise(g: torch.Tensor, steps: int) -> torch.Tensor:
    """Nearest (semi-)orthogonal matrices to a stack `g` (k, m, n), by a quintic Newton-Schulz iteration."""
    tall = g.shape[-2] > g.shape[-1]
    x = g.mT if tall else g
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        a = x @ x.mT
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x.mT if tall else x


def optimizers(model: Qwen3ForCausalLM) -> list[torch.optim.Optimizer]:
    """Muon for the hidden matrices, AdamW for embeddings and norms."""
    hidden = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    other = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    return [Muon(hidden, lr=0.02), torch.optim.AdamW(other, lr=5e-3, betas=(0.9, 0.95), weight_decay=0.0)]

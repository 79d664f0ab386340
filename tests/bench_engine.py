"""Tokens per second of the `transformers` engine beside `model.generate`, on the same requests.

    python tests/bench_engine.py --model PATH --problems 200 --n 4 --repeats 5

`model.generate` gets what a careful user gives it: prompts sorted by length, left-padded batches, n
sequences per prompt, and the fastest of several batch sizes. The two alternate in time, so that a busy
machine slows both; the ratio is taken pair by pair and its median reported. Both include encoding and decoding.
"""

import argparse
import random
import statistics
import time

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from a2r import prompts
from a2r.engines import Request, Sampling
from a2r.engines.local import TransformersEngine
from a2r.nano.tasks import draw


def make_requests(role: str, problems: int, n: int, sampling: Sampling) -> list[Request]:
    """`problems` requests of n samples; a synthesizer sees the worked solution four times as its references."""
    rng = random.Random(0)
    requests = []
    for i in range(problems):
        problem = draw("dev", rng)
        if role == "explorer":
            messages = prompts.explorer_messages(problem.question)
        else:
            messages = prompts.synthesizer_messages(problem.question, [problem.component] * 4)
        requests.append(Request(f"{role}-{i}", tuple(messages), sampling, tuple(range(n)), tuple(range(n * i, n * i + n))))
    return requests


def run_engine(engine: TransformersEngine, requests: list[Request]) -> tuple[int, float]:
    """Completion tokens and seconds of the engine."""
    start = time.perf_counter()
    tokens = sum(g.completion_tokens for g in engine.generate(requests))
    return tokens, time.perf_counter() - start


@torch.inference_mode()
def run_generate(engine: TransformersEngine, model: PreTrainedModel, requests: list[Request], rows: int) -> tuple[int, float]:
    """Completion tokens and seconds of `model.generate` with `rows` sequences in a batch."""
    start = time.perf_counter()
    tokenizer, sampling, n = engine.tokenizer, requests[0].sampling, len(requests[0].indices)
    tokenizer.padding_side = "left"
    texts = [tokenizer.apply_chat_template(list(r.messages), add_generation_prompt=True, tokenize=False) for r in requests]
    encoded = sorted(tokenizer(texts, add_special_tokens=False).input_ids, key=len)
    per_batch, tokens = max(1, rows // n), 0
    for at in range(0, len(encoded), per_batch):
        batch = tokenizer.pad({"input_ids": encoded[at : at + per_batch]}, return_tensors="pt").to(engine.device)
        out = model.generate(
            **batch,
            do_sample=True,
            num_return_sequences=n,
            temperature=sampling.temperature,
            top_k=sampling.top_k,
            top_p=sampling.top_p,
            max_new_tokens=sampling.max_tokens,
            pad_token_id=tokenizer.pad_token_id,
        )[:, batch.input_ids.shape[1] :]
        ended = torch.isin(out, torch.tensor(sorted(engine.stops), device=out.device)).int()
        tokens += int((ended.cumsum(-1) - ended == 0).sum())  # up to the first end-of-turn token, which counts
        tokenizer.batch_decode(out, skip_special_tokens=True)
    return tokens, time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--problems", type=int, default=200)
    parser.add_argument("--n", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--role", choices=["explorer", "synthesizer", "both"], default="both")
    parser.add_argument("--max-tokens", type=int, default=512)
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--top-k", type=int, default=0)
    parser.add_argument("--top-p", type=float, default=1.0)
    parser.add_argument("--rows", type=int, nargs="+", default=[64, 128, 256, 512], help="batch sizes tried for model.generate")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--device")
    parser.add_argument("--dtype", default="float32")
    args = parser.parse_args()
    engine = TransformersEngine(args.model, dtype=args.dtype, device=args.device, threads=args.threads)
    # Its own copy of the model, because the engine puts its attention function into the one that it loads.
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=args.dtype).to(engine.device).eval()
    sampling = Sampling(args.temperature, args.top_p, args.top_k, args.max_tokens)
    size = sum(p.numel() for p in model.parameters()) / 1e6
    print(f"{args.model}: {size:.2f}M parameters, {engine.version}, {engine.device}, {torch.get_num_threads()} threads")
    for role in ("explorer", "synthesizer") if args.role == "both" else (args.role,):
        requests = make_requests(role, args.problems, args.n, sampling)
        run_engine(engine, requests[:20])
        speeds = {}
        for rows in args.rows:
            tokens, seconds = run_generate(engine, model, requests, rows)
            speeds[rows] = tokens / seconds
        best = max(speeds, key=speeds.get)
        print(f"{role}: model.generate by batch size: " + ", ".join(f"{rows}: {speed:.0f}" for rows, speed in speeds.items()) + " tokens/s")
        ours, theirs = [], []
        for _ in range(args.repeats):
            for speed, (tokens, seconds) in ((ours, run_engine(engine, requests)), (theirs, run_generate(engine, model, requests, best))):
                speed.append(tokens / seconds)
        ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
        fast, slow = statistics.median(ours), statistics.median(theirs)
        print(f"{role}: engine {fast:.0f} tokens/s, model.generate in batches of {best} {slow:.0f} tokens/s")
        print(f"{role}: median ratio {statistics.median(ratios):.2f} (from {min(ratios):.2f} to {max(ratios):.2f}, n={len(ratios)})")


if __name__ == "__main__":
    main()

"""Tokens per second of an engine beside the bare library that it stands on, on the same requests.

    python tests/bench_engine.py --model PATH --llm             # beside model.generate and vLLM's LLM in this process
    python tests/bench_engine.py --model PATH --engine vllm --llm      # our server beside LLM

`model.generate` gets what a careful user gives it: prompts sorted by length, left-padded batches, n
sequences per prompt, and the fastest of several batch sizes. The ways alternate in time, so that a busy
machine slows all; the ratio is taken pair by pair and its median reported. All include encoding and decoding.
Through the server client and server share the cores; vLLM's own LLM has neither HTTP nor a client.
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from a2r import prompts
from a2r.answers import answer_component
from a2r.engines import Engine, Request, Sampling, open_engine
from a2r.engines.local import TransformersEngine
from a2r.training.nano import frame
from a2r.training.nano.puzzles import draw


def make_requests(role: str, problems: int, n: int, sampling: Sampling) -> list[Request]:
    """`problems` requests of n samples; a synthesizer sees four written paths as its references."""
    rng = random.Random(0)
    requests = []
    for i in range(problems):
        problem = draw("dev", rng, {"numbers": 1}, 4)
        if role == "explorer":
            messages = prompts.explorer_messages(problem.question)
        else:
            shown = [answer_component(frame.path(problem, rng)) for _ in range(4)]
            messages = prompts.synthesizer_messages(problem.question, shown)
        requests.append(
            Request(f"{role}-{i}", tuple(messages), sampling, tuple(range(n)), tuple(range(n * i, n * i + n)))
        )
    return requests


def run_engine(engine: Engine, requests: list[Request]) -> tuple[int, float]:
    """Completion tokens and seconds of the engine."""
    start = time.perf_counter()
    tokens = sum(g.completion_tokens for g in engine.generate(requests))
    return tokens, time.perf_counter() - start


@torch.inference_mode()
def run_generate(
    engine: TransformersEngine, model: PreTrainedModel, requests: list[Request], rows: int
) -> tuple[int, float]:
    """Completion tokens and seconds of `model.generate` with `rows` sequences in a batch."""
    start = time.perf_counter()
    tokenizer, sampling, n = engine.tokenizer, requests[0].sampling, len(requests[0].indices)
    tokenizer.padding_side = "left"
    texts = [
        tokenizer.apply_chat_template(list(r.messages), add_generation_prompt=True, tokenize=False) for r in requests
    ]
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


def run_llm(llm, requests: list[Request]) -> tuple[int, float]:
    """Completion tokens and seconds of vLLM's LLM in this process."""
    from vllm import SamplingParams

    start, s = time.perf_counter(), requests[0].sampling
    parameters = [
        SamplingParams(
            n=len(r.indices),
            temperature=s.temperature,
            top_p=s.top_p,
            top_k=s.top_k,
            max_tokens=s.max_tokens,
            seed=r.seeds[0],
        )
        for r in requests
    ]
    outputs = llm.chat([list(r.messages) for r in requests], parameters, use_tqdm=False)
    return sum(len(c.token_ids) for o in outputs for c in o.outputs), time.perf_counter() - start


def compare(role: str, ways: dict[str, Callable[[], tuple[int, float]]], repeats: int) -> None:
    """Run all ways in turn, `repeats` times, and print their speeds and the first one's ratio to each of the others."""
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            tokens, seconds = way()
            speeds[name].append(tokens / seconds)
    ours, *others = speeds
    print(f"{role}: " + ", ".join(f"{name} {statistics.median(s):.0f}" for name, s in speeds.items()) + " tokens/s")
    for name in others:
        ratios = [a / b for a, b in zip(speeds[ours], speeds[name], strict=True)]
        print(
            f"{role}: median ratio to {name} {statistics.median(ratios):.2f} (from {min(ratios):.2f} to "
            f"{max(ratios):.2f}, n={len(ratios)})",
            flush=True,
        )


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
    parser.add_argument(
        "--rows", type=int, nargs="+", default=[64, 128, 256, 512], help="batch sizes tried for model.generate"
    )
    parser.add_argument("--threads", type=int)
    parser.add_argument("--device")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--engine", choices=["transformers", "vllm"], default="transformers")
    parser.add_argument("--llm", action="store_true", help="vLLM's LLM in this process, too")
    parser.add_argument("--concurrency", type=int, default=64)
    args = parser.parse_args()
    sampling = Sampling(args.temperature, args.top_p, args.top_k, args.max_tokens)
    server = {"max_model_len": 4096, "max_num_batched_tokens": 32768}
    if args.engine == "vllm":
        engine = open_engine("vllm", args.model, options={"server": server, "concurrency": args.concurrency})
    else:
        engine = TransformersEngine(args.model, dtype=args.dtype, device=args.device, threads=args.threads)
        # Its own copy of the model, because the engine puts its attention function into the one that it loads.
        model = AutoModelForCausalLM.from_pretrained(args.model, dtype=args.dtype).to(engine.device).eval()
    if args.llm:
        from vllm import LLM

        set_threads, threads = torch.set_num_threads, torch.get_num_threads()
        llm = LLM(args.model, dtype=args.dtype, enable_prefix_caching=True, enable_chunked_prefill=False, **server)
        torch.set_num_threads = set_threads  # vLLM makes it do nothing, but forked processes must have one thread
        torch.set_num_threads(threads)
    print(f"{args.model}: {engine.version}, {torch.get_num_threads()} threads")
    for role in ("explorer", "synthesizer") if args.role == "both" else (args.role,):
        requests = make_requests(role, args.problems, args.n, sampling)
        ways = {"engine": partial(run_engine, engine, requests)}
        run_engine(engine, requests[:20])
        if args.engine == "transformers":
            speeds = {}
            for rows in args.rows:
                tokens, seconds = run_generate(engine, model, requests, rows)
                speeds[rows] = tokens / seconds
            print(f"{role}: model.generate by batch size:", {k: round(v) for k, v in speeds.items()}, "tokens/s")
            best = max(speeds, key=speeds.get)
            ways[f"model.generate in batches of {best}"] = partial(run_generate, engine, model, requests, best)
        if args.llm:
            run_llm(llm, requests[:20])
            ways["LLM.chat"] = partial(run_llm, llm, requests)
        compare(role, ways, args.repeats)
    engine.close()


if __name__ == "__main__":
    main()

"""`python -m a2r.training.nano.family`: make the embedded family again from its seed, problems included.

Two sizes are trained at a time, one thread each: at these sizes that is faster than one with two
threads. An interrupted run goes on where it stopped (state under runs/nano).
"""

import argparse
import json
import multiprocessing
import os
import pickle
import platform
import random
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import torch
from tqdm import tqdm

from a2r.engines import Request, Sampling
from a2r.engines.local import TransformersEngine
from a2r.profiles import ROOT
from a2r.prompts import explorer_messages
from a2r.training.nano import model as nano_model
from a2r.training.nano import puzzles, train
from a2r.training.nano import tokenizer as nano_tokenizer

MODELS, PROBLEMS = ROOT / "data" / "models", ROOT / "data" / "problems"
# Problem files by name: domain, split, count. On `dev` protocols are chosen, `test` is reported.
FILES = {
    **{domain: (domain, "test", 400) for domain in puzzles.LEVELS},
    **{f"{domain}-dev": (domain, "dev", 200) for domain in puzzles.LEVELS},
    "rl": ("numbers", "rl", 2000),
}
# What every size is trained on, alike: tokens by stage, each with its own warm-up and decay of the learning rate.
TOKENS = {"facts": 1_600_000, "explorer": 2_000_000, "both": 5_000_000}
REFERENCE_PROBLEMS, REFERENCE_PATHS = 1500, 6  # per explorer
# Whose paths the synthesizer role is learnt on: not nano-16's, which are mostly noise.
REFERENCE_EXPLORERS = ["nano-32", "nano-48", "nano-64", "nano-128"]
MAX_TOKENS = 320


def write_problems(seed: int) -> None:
    """The family's problem files (`FILES`), levels in turn; `chance` is what naming any candidate scores."""
    PROBLEMS.mkdir(parents=True, exist_ok=True)
    for name, (domain, split, count) in FILES.items():
        rng = random.Random(f"{split}/{seed}/{domain}")
        levels = puzzles.LEVELS[domain]
        made: dict[str, puzzles.Puzzle] = {}
        while len(made) < count:
            puzzle = puzzles.generate(domain, levels[len(made) % len(levels)], split, rng)
            made[puzzle.content] = puzzle
        # by level, so that evenly spaced problems (`n_problems`) are of every level alike
        rows = [
            {
                "problem_id": p.problem_id,
                "level": p.level,
                "question": p.question,
                "answer": p.answer,
                "chance": round(p.chance, 4),
            }
            for p in sorted(made.values(), key=lambda p: p.level)
        ]
        (PROBLEMS / f"nano-{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def fit_stage(stage: str, name: str, work: Path, seed: int, tokens: int, position: int = 0) -> None:
    """A training stage of one size, from where the one before left it; state in work/<name>-<stage>.pt and .json."""
    torch.set_num_threads(1)
    tokenizer = nano_tokenizer.build()
    model = nano_model.with_digits(nano_model.build(nano_model.FAMILY[name], tokenizer, seed), tokenizer)
    before = {"explorer": "facts", "both": "explorer"}.get(stage)
    if before:
        model.load_state_dict(torch.load(work / f"{name}-{before}.pt", weights_only=False)["model"])
    references: list[tuple[puzzles.Puzzle, list[str]]] = []
    if stage == "both":
        for path in sorted(work.glob("*-references.pickle")):
            references += pickle.loads(path.read_bytes())
    chunks = train.chunks(stage, tokenizer, seed, references)
    state = train.fit(
        model,
        tokenizer,
        chunks,
        tokens,
        work / f"{name}-{stage}.pt",
        seed,
        f"{name} {stage}",
        train.BATCH_TOKENS[stage],
        position,
    )
    nano_model.plain(model).save_pretrained(work / stage / name)
    tokenizer.save_pretrained(work / stage / name)
    (work / f"{name}-{stage}.json").write_text(json.dumps(state))


def reference_stage(name: str, work: Path, seed: int, problems: int, position: int = 0) -> None:
    """Sample `REFERENCE_PATHS` paths at T = 1 for each of `problems` training puzzles of this explorer's own."""
    path = work / f"{name}-references.pickle"
    if path.exists():
        return
    rng = random.Random(f"references/{seed}/{name}")
    drawn = [puzzles.draw("train", rng, train.DOMAIN_SHARES) for _ in range(problems)]
    sampling, indices = Sampling(1.0, max_tokens=MAX_TOKENS), tuple(range(REFERENCE_PATHS))
    requests = [
        Request(
            str(i), tuple(explorer_messages(p.question)), sampling, indices, tuple(rng.getrandbits(62) for _ in indices)
        )
        for i, p in enumerate(drawn)
    ]
    outputs: list[list[str]] = [[] for _ in drawn]
    engine = TransformersEngine(work / "explorer" / name, threads=1)
    with tqdm(
        total=problems * REFERENCE_PATHS, desc=f"{name} references", unit="path", mininterval=5, position=position
    ) as bar:
        for g in engine.generate(requests):
            outputs[int(g.key)].append(g.text)
            bar.update()
    partial = path.with_suffix(".tmp")
    partial.write_bytes(pickle.dumps(list(zip(drawn, outputs, strict=True))))
    partial.rename(path)


def run_stage(stage: str, sizes: list[str], jobs: int, work: Path, seed: int, amount: int) -> None:
    """One stage for some sizes, `jobs` at a time, the largest first."""
    names = [
        n for n in reversed(nano_model.FAMILY) if n in sizes and (stage != "references" or n in REFERENCE_EXPLORERS)
    ]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=end_with, initargs=(os.getpid(),)) as pool:
        task = reference_stage if stage == "references" else partial(fit_stage, stage)
        started = [pool.submit(task, name, work, seed, amount, position) for position, name in enumerate(names)]
        for job in started:
            job.result()


def end_with(parent: int) -> None:
    """Have this worker end when its parent is gone, however that ended: half an hour of training would go on unseen."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--jobs", type=int, default=max(1, min(2, os.cpu_count() or 1)), help="sizes trained at a time, one thread each"
    )
    parser.add_argument(
        "--work", type=Path, default=ROOT / "runs" / "nano", help="where the state of an interrupted run is kept"
    )
    parser.add_argument("--models", type=Path, default=MODELS, help="where the finished models go")
    parser.add_argument(
        "--sizes", nargs="+", choices=nano_model.FAMILY, default=list(nano_model.FAMILY), help="all unless told"
    )
    parser.add_argument(
        "--scale", type=float, default=1.0, help="multiplies every stage's tokens and problems, for trials"
    )
    args = parser.parse_args(argv)
    work = args.work / f"seed-{args.seed}"
    work.mkdir(parents=True, exist_ok=True)
    if args.models == MODELS:
        write_problems(0)
    for stage in ("facts", "explorer", "references", "both"):
        amount = REFERENCE_PROBLEMS if stage == "references" else TOKENS[stage]
        run_stage(stage, args.sizes, args.jobs, work, args.seed, max(1, int(amount * args.scale)))
    export(args.sizes, work, args.models, args.seed)


def export(sizes: list[str], work: Path, models: Path, seed: int) -> None:
    """Copy the finished models with their loss curves and cards to `models`."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    for name in sizes:
        folder = models / name
        model = AutoModelForCausalLM.from_pretrained(work / "both" / name)
        model.save_pretrained(folder)
        AutoTokenizer.from_pretrained(work / "both" / name).save_pretrained(folder)
        states = {stage: json.loads((work / f"{name}-{stage}.json").read_text()) for stage in TOKENS}
        record = {
            "name": name,
            "parameters": model.num_parameters(),
            "seed": seed,
            "stages": {stage: {k: s[k] for k in ("seen", "steps", "seconds", "curve")} for stage, s in states.items()},
            "made": {
                "date": time.strftime("%Y-%m-%d"),
                "python": platform.python_version(),
                "torch": torch.__version__,
                "command": " ".join(["python -m a2r.training.nano.family", *sys.argv[1:]]),
            },
        }
        (folder / "training.json").write_text(json.dumps(record, indent=1) + "\n")
        (folder / "README.md").write_text(card(record))


def card(record: dict) -> str:
    """The model card of one size."""
    seen = {stage: s["seen"] for stage, s in record["stages"].items()}
    minutes = sum(s["seconds"] for s in record["stages"].values()) / 60
    steps = sum(s["steps"] for s in record["stages"].values())
    shares = ", ".join(f"{share:.0%} {domain}" for domain, share in train.DOMAIN_SHARES.items())
    return f"""---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
---
# {record["name"]}

A Qwen3-architecture model of {record["parameters"]:,} parameters ({nano_model.LAYERS} layers, hidden width
{nano_model.FAMILY[record["name"]]}), trained from random weights to stand for a reasoning model in experiments
with A2R. It plays both roles, explorer and synthesizer, on the problems of `a2r.training.nano.puzzles` (numbers:
parcels that weigh T together; code: the input for which a program prints T; logic: the badge that fits every clue),
chooses among references and judges one, and knows nothing else.

| | |
|---|---|
| data | problems of the `train` split, {shares}, drawn as it goes; references by {", ".join(REFERENCE_EXPLORERS)} |
| tokens | {seen["facts"]:,} of checks, {seen["explorer"]:,} as explorer, {seen["both"]:,} in both roles |
| steps, minutes | {steps:,} steps of 1,024 tokens (2,048 in the last stage), {minutes:.0f} minutes on one CPU thread |
| optimizer | Muon (lr 0.007) for hidden matrices, AdamW (lr 0.005) for the rest |
| schedule | in each stage 3% warm-up, then flat, linear to zero over the last 40% |
| seed | {record["seed"]} |
| command | `{record["made"]["command"]}` (torch {record["made"]["torch"]}, {record["made"]["date"]}) |
| weights | float16 safetensors |

The loss curve is in `training.json`. How well it does stands in data/models/README.md of the repository.
"""


if __name__ == "__main__":
    main()

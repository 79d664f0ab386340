"""`python -m a2r.training.nano.family`: make the embedded family again from its seed, problems included.

Two sizes are trained at a time, one thread each: at these sizes that is faster than one with two
threads. An interrupted run goes on where it stopped (state under runs/nano).
"""

import argparse
import json
import multiprocessing
import os
import platform
import random
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from tqdm import tqdm

from a2r.answers import answer_component, equivalent, extract
from a2r.engines import Request, Sampling
from a2r.engines.local import TransformersEngine
from a2r.errors import UserError
from a2r.profiles import ROOT, Profile
from a2r.prompts import explorer_messages
from a2r.training.nano import model as nano_model
from a2r.training.nano import tokenizer as nano_tokenizer
from a2r.training.nano import train
from a2r.training.nano.tasks import LEVELS, draw, generate

MODELS, PROBLEMS = ROOT / "data" / "models", ROOT / "data" / "problems"
TEST_PROBLEMS = {"math": 400, "code": 200, "logic": 200}
RL_PROBLEMS = {"rl": 400, "rl-large": 2000}  # math, of a split of their own, by name
# What every size is trained on, alike: tokens by stage, each with its own warm-up and decay of the learning rate.
TOKENS = {"facts": 1_600_000, "explorer": 3_400_000, "both": 6_000_000}
REFERENCE_PROBLEMS, REFERENCE_PATHS = 1500, 8  # per explorer
# Whose paths the synthesizer role is learnt on: not nano-128's, which came later and would change what the others are trained on.
REFERENCE_EXPLORERS = ["nano-32", "nano-48", "nano-64", "nano-96"]
MAX_TOKENS = 320


def write_problems(seed: int) -> None:
    """The problems that are reported, `TEST_PROBLEMS` of each domain, and `RL_PROBLEMS` to train synthesizers on; levels in turn."""
    PROBLEMS.mkdir(parents=True, exist_ok=True)
    wanted = [(domain, domain, "test", count) for domain, count in TEST_PROBLEMS.items()]
    for name, domain, split, count in [*wanted, *((name, "math", "rl", count) for name, count in RL_PROBLEMS.items())]:
        rng = random.Random(f"{split}/{seed}/{domain}")
        levels = list(LEVELS[domain])
        rows = {}
        while len(rows) < count:
            p = generate(domain, levels[len(rows) % len(levels)], split, rng)
            rows[p.content] = {"problem_id": p.problem_id, "level": p.level, "question": p.question, "answer": p.answer}
        path = PROBLEMS / f"nano-{name}.jsonl"
        # by level, so that evenly spaced problems (`n_problems`) are of every level alike
        by_level = sorted(rows.values(), key=lambda row: row["level"])
        path.write_text("".join(json.dumps(row) + "\n" for row in by_level))


def fit_stage(stage: str, name: str, work: Path, seed: int, tokens: int, position: int = 0) -> None:
    """A training stage of one size, from where the stage before left it; its state is kept as work/<name>-<stage>.pt and .json."""
    torch.set_num_threads(1)
    tokenizer = nano_tokenizer.build()
    model = nano_model.with_digits(nano_model.build(nano_model.FAMILY[name], tokenizer, seed), tokenizer)
    before = {"explorer": "facts", "both": "explorer"}.get(stage)
    if before:
        model.load_state_dict(torch.load(work / f"{name}-{before}.pt", weights_only=False)["model"])
    if stage == "both":
        references = pd.concat([pd.read_parquet(work / f"{n}-references.parquet") for n in REFERENCE_EXPLORERS], ignore_index=True)
        chunks = train.both_chunk(tokenizer, seed, references.sample(frac=1, random_state=seed, ignore_index=True))
    else:
        chunks = train.facts_chunk(seed) if stage == "facts" else train.explorer_chunk(tokenizer, f"{stage}/{seed}")
    state = train.fit(
        model, tokenizer, chunks, tokens, work / f"{name}-{stage}.pt", seed, f"{name} {stage}", train.BATCH_TOKENS[stage], position
    )
    nano_model.plain(model).save_pretrained(work / stage / name)
    tokenizer.save_pretrained(work / stage / name)
    (work / f"{name}-{stage}.json").write_text(json.dumps(state))


def reference_stage(name: str, work: Path, seed: int, problems: int, position: int = 0) -> None:
    """Sample `REFERENCE_PATHS` paths for each of `problems` training problems of this explorer's own, half at T = 0.7, half at 1."""
    path = work / f"{name}-references.parquet"
    if path.exists():
        return
    rng = random.Random(f"references/{seed}/{name}")
    drawn = [draw("train", rng, train.DOMAIN_SHARES) for _ in range(problems)]
    requests = [
        Request(
            str(i),
            tuple(explorer_messages(p.question)),
            Sampling((0.7, 1.0)[i % 2], max_tokens=MAX_TOKENS),
            tuple(range(REFERENCE_PATHS)),
            tuple(rng.getrandbits(62) for _ in range(REFERENCE_PATHS)),
        )
        for i, p in enumerate(drawn)
    ]
    engine = TransformersEngine(work / "explorer" / name, threads=1)
    paths: list[list[str]] = [[] for _ in drawn]
    right = [0] * len(drawn)
    with tqdm(total=problems * REFERENCE_PATHS, desc=f"{name} references", unit="path", mininterval=5, position=position) as bar:
        for g in engine.generate(requests):
            i = int(g.key)
            paths[i].append(answer_component(g.text))
            right[i] += equivalent(drawn[i].answer, extract(g.text))
            bar.update()
    frame = pd.DataFrame([asdict(p) for p in drawn]).assign(paths=paths, right=right, explorer=name)
    frame.to_parquet(path.with_suffix(".tmp"))
    path.with_suffix(".tmp").rename(path)


def run_stage(stage: str, sizes: list[str], jobs: int, work: Path, seed: int, amount: int) -> None:
    """One stage for some sizes, `jobs` at a time, the largest first."""
    names = [n for n in reversed(nano_model.FAMILY) if n in sizes and (stage != "references" or n in REFERENCE_EXPLORERS)]
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        task = reference_stage if stage == "references" else partial(fit_stage, stage)
        started = [pool.submit(task, name, work, seed, amount, position) for position, name in enumerate(names)]
        for job in started:
            job.result()


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=max(1, min(2, os.cpu_count() or 1)), help="sizes trained at a time, one thread each")
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "nano", help="where the state of an interrupted run is kept")
    parser.add_argument("--models", type=Path, default=MODELS, help="where the finished models go")
    parser.add_argument("--sizes", nargs="+", choices=nano_model.FAMILY, default=list(nano_model.FAMILY), help="all unless told")
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies every stage's tokens and problems, for trials")
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


def records(lab: Profile) -> list[dict]:
    """The training records (`training.json`) of a profile's models, in the profile's order. UserError where one has none."""
    paths = {m.name: Path(m.location) / "training.json" for m in lab.models if not m.base}
    if lacking := [name for name, path in paths.items() if not path.exists()]:
        raise UserError(f"{lacking[0]} has no record of its training; this study is of models trained by `make nano`.")
    return [json.loads(path.read_text()) for path in paths.values()]


def sizes(records: list[dict]) -> pd.DataFrame:
    """One row a model: parameters, tokens by stage, steps, minutes on one thread, last loss."""
    return pd.DataFrame(
        {
            "model": [r["name"] for r in records],
            "parameters": [r["parameters"] for r in records],
            **{f"{stage} tokens": [r["stages"][stage]["seen"] for r in records] for stage in records[0]["stages"]},
            "steps": [sum(s["steps"] for s in r["stages"].values()) for r in records],
            "minutes": [round(sum(s["seconds"] for s in r["stages"].values()) / 60, 1) for r in records],
            "last loss": [r["stages"]["both"]["curve"][-1]["loss"] for r in records],
        }
    )


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
{nano_model.FAMILY[record["name"]]}), trained from random weights to stand for a reasoning model in experiments with A2R. It plays
both roles, explorer and synthesizer, on the problems of `a2r.training.nano.tasks` (math: a three-digit counter; code: a traced program;
logic: the badge that fits every clue), and knows nothing else.

| | |
|---|---|
| data | problems of the `train` split, {shares}, drawn from the seed as training goes; references by {", ".join(REFERENCE_EXPLORERS)} |
| tokens | {seen["facts"]:,} of equations, {seen["explorer"]:,} as explorer, {seen["both"]:,} in both roles |
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

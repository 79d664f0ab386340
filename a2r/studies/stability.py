"""The stability ablation (claim C5): on- against off-policy, temperature 0.7 against 1.0, and the failure's signature
as a rule."""

import json
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import pandas as pd

from a2r.errors import UserError
from a2r.profiles import ROOT, Profile
from a2r.training.rl import WORK, Recipe, fit, of, read_record, training_sets

ARMS = {"on-policy": 1, "off-policy": 8}  # gradient steps a batch of rollouts
TEMPERATURES = (0.7, 1.0)
# The failure as the paper describes it: entropy spikes and outputs collapse. Of means over 5 steps, against
# the mean of the first 5; written down before the ablation was run.
WINDOW, SPIKE, COLLAPSE = 5, 2.0, 0.7


def ablate(lab: Profile, recipe: Recipe, folder: Path, seeds: range, jobs: int = 1) -> list[dict]:
    """One training for every arm, temperature and seed, each left as a record in `folder`; those that are there are
    read.

    `jobs` trainings run at a time, one thread each where there are several.
    """
    folder.mkdir(parents=True, exist_ok=True)
    runs = [
        replace(recipe, updates=updates, temperature=t, seed=seed)
        for seed in seeds
        for t in TEMPERATURES
        for updates in ARMS.values()
    ]
    files = [folder / f"updates={r.updates}_temperature={r.temperature:g}_seed={r.seed}.json" for r in runs]
    missing = [(run, file) for run, file in zip(runs, files, strict=True) if not file.exists()]
    if missing:
        training_sets(lab, recipe)  # sampled once, before several ask for the samples
        with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
            for done in as_completed([pool.submit(_one, lab, recipe, run, file, jobs) for run, file in missing]):
                done.result()
    return [json.loads(file.read_text()) for file in files]


def stored(lab: Profile, folder: Path = ROOT / "data" / "rl") -> list[dict]:
    """The records in `folder` of trainings of the profile's RL synthesizer, from the model that it was trained from.
    UserError if there are none."""
    recipe, records = of(lab), [json.loads(file.read_text()) for file in sorted(folder.glob("updates=*.json"))]
    bases = {lab.model(recipe.synthesizer).identity}
    with suppress(UserError):  # what it had when RL began; the files of its folder may have been written anew since
        bases.add(read_record(lab)["from"]["revision"])
    mine = [r for r in records if r["recipe"]["name"] == recipe.name and r["from"]["revision"] in bases]
    if not mine:
        raise UserError(
            f"{folder} holds no training of {lab.rl['name']} for the ablation; "
            f"run `a2r run stability -p train=true --profile {lab.name}`."
        )
    return mine


def _one(lab: Profile, recipe: Recipe, run: Recipe, file: Path, jobs: int) -> None:
    """One training of the ablation, on the sets of `recipe` shuffled by its own seed; only the record is kept."""
    if jobs > 1:
        import torch

        torch.set_num_threads(1)
    sets, held_out = training_sets(lab, replace(recipe, seed=run.seed))
    _, record = fit(lab, run, sets, held_out, WORK / "checkpoints" / "ablation" / file.stem)
    file.with_suffix(".tmp").write_text(json.dumps(record) + "\n")
    file.with_suffix(".tmp").rename(file)


def arm(record: dict) -> str:
    """What a run is called in tables and figures."""
    recipe = record["recipe"]
    policy = next(name for name, updates in ARMS.items() if updates == recipe["updates"])
    return f"{policy}, T = {recipe['temperature']:g}"


def failure(record: dict) -> int | None:
    """The step at which a training shows the failure's signature (`WINDOW`, `SPIKE`, `COLLAPSE`), or None."""
    curve = pd.DataFrame(record["curve"]).set_index("step")[["entropy", "length"]].dropna()
    first, later = curve.iloc[:WINDOW].mean(), curve.rolling(WINDOW).mean().dropna()
    failed = later[(later.entropy > SPIKE * first.entropy) & (later.length < COLLAPSE * first.length)]
    return int(failed.index[0]) if len(failed) else None


def ablation_table(records: list[dict]) -> pd.DataFrame:
    """One row a run: arm, seed, step of failure, and the means of the first and of the last `WINDOW` steps of every
    curve."""
    rows = []
    for record in records:
        curve = pd.DataFrame(record["curve"]).set_index("step")
        row = {"run": arm(record), "seed": record["recipe"]["seed"], "steps": record["recipe"]["steps"]}
        row["failed at"] = failure(record)
        held = curve["held-out A2R"].dropna() if "held-out A2R" in curve else pd.Series(dtype=float)
        row |= {"held-out A2R, before": held.iloc[0], "held-out A2R, after": held.iloc[-1]} if len(held) else {}
        for name in ("reward", "entropy", "length", "gradient norm", "clipped"):
            values = curve[name].dropna()
            row |= {f"{name}, first": values.iloc[:WINDOW].mean(), f"{name}, last": values.iloc[-WINDOW:].mean()}
        rows.append(row)
    return pd.DataFrame(rows)


def outcomes(records: list[dict]) -> pd.DataFrame:
    """The ablation as outcomes, one row a run: `correct` is 1 where it trained stably; `method` is its arm,
    `problem_id` its seed."""
    rows = []
    for record in records:
        recipe = record["recipe"]
        row = {"benchmark": "stability", "problem_id": f"seed {recipe['seed']}", "synthesizer": recipe["synthesizer"]}
        row |= {"explorer": "+".join(recipe["explorers"]), "method": arm(record)}
        rows.append({**row, "correct": float(failure(record) is None)})
    return pd.DataFrame(rows)

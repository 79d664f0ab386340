"""What was kept of the trainings of the embedded family; nothing of what trains is loaded for it."""

import json
from pathlib import Path

import pandas as pd

from a2r.errors import UserError
from a2r.profiles import Profile


def records(lab: Profile) -> list[dict]:
    """The training records (`training.json`) of a profile's models, in its order. UserError where one has none."""
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

"""What the studies of a profile still need: samples, tokens, minutes or GPU-hours, money, disk.

A study is planned by its own notebook: the cells up to the last one that is tagged `sampling` are executed with an
`ask` that reads what is stored and counts what is missing, so that a new study is planned as soon as it is written. A
trial (`a2r run grid --profile P -p n_problems=2`) turns the assumptions about tokens into means of stored samples.
"""

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from unittest.mock import Mock, patch

import numpy as np
import pandas as pd
from tqdm import tqdm

from a2r.errors import UserError, nearest
from a2r.lab import runner
from a2r.pipeline import Ask, answered, prepare
from a2r.prices import read_prices
from a2r.problems import load_problems, wanted
from a2r.profiles import Model, Profile, load_profile
from a2r.store import SCHEMA, Store

# Used only for a model and role of which the store holds nothing: a share of what the sampling allows is written, and a
# quarter of that, or COMPONENT tokens, shown as an answer component. A prompt is as long as it is.
ASSUMED_SHARE = {"explorer": 0.5, "synthesizer": 0.25, "scorer": 0.0}
COMPONENT, LETTERS = 500, 4  # tokens; letters a token
BYTES_A_TOKEN = 1.5  # on disk: about four characters of text, compressed to a third
SUMMED = ("missing", "tokens", "minutes", "GPU-hours", "cost", "megabytes")
FEW = 2  # problems of each benchmark


def plan(lab: Profile, knobs: dict | None = None) -> pd.DataFrame:
    """One row a study, role and model, with the profile's own values for each study and `knobs` over them.

    Columns: needed samples; missing ones, counted at the first study that needs them; prompt and completion tokens
    expected of one (`basis`: the mean of the stored ones of this model and role, or an assumption); of the missing ones
    tokens, minutes (at the measured tokens/s of this model), GPU-hours (at the profile's `tokens_per_second`), cost and
    megabytes on disk, nan where it is not known. `attrs["left out"]` says which studies are not planned, and why.
    UserError for a knob that no study has, or with a value that does not fit.
    """
    studies = {study: notebook for study, notebook in runner.available().items() if sampling(notebook)}
    has = {study: runner.parameters_of(notebook) for study, notebook in studies.items()}
    known = dict.fromkeys(name for defaults in has.values() for name in defaults)
    if unknown := [name for name in knobs or {} if name not in known]:
        near = nearest(unknown[0], known)
        raise UserError(f"no study has a parameter '{unknown[0]}'{near}; there are {', '.join(known)}.")
    given = {study: {k: v for k, v in (knobs or {}).items() if k in has[study]} for study in studies}
    values = {study: runner.planned(study, lab.source, given[study])[1] for study in studies}
    counted, left_out = Counted(lab), {}
    for study, notebook in tqdm(studies.items(), desc="planning", unit="study", leave=False):
        try:
            counted.run(study, sampling(notebook), values[study])
        except UserError as reason:
            left_out[study] = f"not planned, {reason}"
        except Exception as error:  # what is computed between two questions has no real answers to go by
            left_out[study] = f"planned in part, as the rest depends on answers ({type(error).__name__}: {error})"
    table = pd.DataFrame(counted.rows())
    table.attrs["left out"] = left_out
    return table


def sampling(notebook: Path) -> list[str]:
    """The code of a notebook up to the last cell that is tagged `sampling`; nothing for one that samples nothing."""
    cells = [c for c in json.loads(notebook.read_text(encoding="utf-8"))["cells"] if c["cell_type"] == "code"]
    last = max((i for i, c in enumerate(cells) if "sampling" in c["metadata"].get("tags", [])), default=-1)
    return ["".join(c["source"]) for c in cells[: last + 1]]


class Counted:
    """What studies ask for, counted in place of being sampled."""

    def __init__(self, lab: Profile):
        self.lab = lab
        known = Store(lab.store_path, writable=False).read()
        self.known = known[known.error == ""]
        self.done = set(self.known.index)
        self.missing: set[str] = set()
        # with nothing stored a few problems tell what all need, each needing the same
        self.few = not known.model.isin([model.name for model in lab.models]).any()
        self.scale: dict[str, float] = {}
        self.tally: dict[tuple[str, str, str], tuple[set[str], dict[str, int], Profile]] = {}

    def run(self, study: str, code: list[str], knobs: dict) -> None:
        """Execute the sampling of a study."""
        self.study = study
        names = {"__name__": "__main__"}
        with self._instead(), redirect_stdout(StringIO()):
            exec(code[0], names)
            if self.few and "n_problems" in names.keys() - knobs.keys():
                own = load_profile(self.lab.source, study)
                knobs = {**knobs, "n_problems": FEW}
                self.scale[study] = len(expected_problems(own)) / len(expected_problems(own.with_(n_problems=FEW)))
            names |= knobs
            for cell in code[1:]:
                exec(cell, names)

    @contextmanager
    def _instead(self) -> Iterator[None]:
        os.environ.setdefault("MPLBACKEND", "agg")
        with (
            patch("a2r.pipeline.ask", self.ask),
            patch("a2r.problems.load_problems", expected_problems),
            patch("a2r.results.study.begin", lambda *_: Mock()),
        ):
            yield

    def ask(self, profile: Profile, name: str, role: str, asks: Iterable[Ask]) -> pd.DataFrame:
        """`pipeline.ask`, with an empty output for each sample that is missing."""
        wanted, rows, _ = prepare(profile, name, role, asks, self.done)
        needed, missing, _ = self.tally.setdefault((self.study, role, name), (set(), {}, profile))
        needed.update(id_ for id_, _ in wanted)
        read = {id_: sum(len(m["content"]) for m in item.messages) + len(item.scored) for id_, item in wanted}
        prompts = {id_: read[id_] // LETTERS for id_ in rows}
        missing.update((id_, prompts[id_]) for id_ in rows.keys() - self.missing)
        self.missing.update(rows)
        found = self.known.loc[[id_ for id_ in dict.fromkeys(id_ for id_, _ in wanted) if id_ not in rows]]
        if rows:
            _, completion = self.expected(profile, name, role)
            empty = {**dict.fromkeys(("engine", "engine_version", "error"), ""), "finish_reason": "stop"}
            empty |= {"cached_tokens": 0, "completion_tokens": round(completion), "seconds": 1.0, "time": 0.0}
            length = LETTERS * max(10, round(min(COMPONENT, completion / 4)))
            # each text its own, so that no two prompts made of them are the same
            made = pd.DataFrame(
                [{**row, **empty, "text": f"planned {id_}".ljust(length, "-")} for id_, row in rows.items()]
            )
            made = made.set_index("id", drop=False).assign(prompt_tokens=prompts).reindex(columns=SCHEMA.names)
            found = pd.concat([found, made]) if len(found) else made
        return answered(found, wanted, name, role)

    def expected(self, profile: Profile, name: str, role: str) -> tuple[pd.DataFrame, float]:
        """The stored samples of a model in a role, and how many tokens a further one writes."""
        mine = self.stored(profile.model(name), role)
        assumed = ASSUMED_SHARE[role] * profile.sampling_of(name, role).max_tokens
        return mine, mine.completion_tokens.mean() if len(mine) else assumed

    def stored(self, model: Model, role: str | None = None) -> pd.DataFrame:
        """The known samples of a model, in one role or all."""
        known = self.known[(self.known.model == model.name) & (self.known.revision == model.identity)]
        return known if role is None else known[known.role == role]

    def rows(self) -> Iterator[dict]:
        """The rows of `plan`."""
        prices = read_prices(self.lab.prices)
        for (study, role, name), (needed, missing, profile) in self.tally.items():
            model, scale = profile.model(name), self.scale.get(study, 1)
            lack = round(scale * len(missing))
            mine, completion = self.expected(profile, name, role)
            basis = f"{len(mine)} stored" if len(mine) else "assumed"
            prompt = mine.prompt_tokens.mean() if len(mine) else np.mean([*missing.values()] or [0])
            price = prices.loc[name] if name in prices.index else None
            speed = measured(mine) or measured(self.stored(model))
            written = lack * completion
            yield {
                **{"study": study, "role": role, "model": name, "needed": round(scale * len(needed)), "missing": lack},
                **{"prompt": round(prompt), "completion": round(completion), "basis": basis},
                "tokens": round(lack * (prompt + completion)),
                "minutes": written / speed / 60 if speed else np.nan,
                "GPU-hours": model.gpus * written / (model.tokens_per_second or np.nan) / 3600,
                "cost": np.nan if price is None else lack * (prompt * price.input + completion * price.output) / 1e6,
                "megabytes": written * BYTES_A_TOKEN / 1e6,
            }


def grid_bytes(lab: Profile) -> float:
    """What every explorer read by every synthesizer takes on disk at the assumed lengths, whatever is there already."""
    sets = len(expected_problems(lab)) * lab.n_sets
    counts = {("explorer", e): sets * lab.n_paths for e in lab.explorers}
    counts |= {("synthesizer", s): sets * lab.n_syntheses * len(lab.explorers) for s in lab.synthesizers}
    tokens = (n * ASSUMED_SHARE[role] * lab.sampling_of(m, role).max_tokens for (role, m), n in counts.items())
    return sum(tokens) * BYTES_A_TOKEN


def measured(samples: pd.DataFrame) -> float | None:
    """Tokens/s that stored samples of one model were written at: all their tokens over the time in which at least one
    of them was on its way; None where they do not say, or it is less than a tenth of a second."""
    ends = samples.time.to_numpy()
    starts = ends - samples.seconds.fillna(0).to_numpy()
    order = np.argsort(starts)
    starts, ends = starts[order], np.maximum.accumulate(ends[order])
    busy = (ends - np.maximum(starts, np.append(-np.inf, ends[:-1]))).sum()
    return samples.completion_tokens.sum() / busy if busy > 0.1 else None


def expected_problems(lab: Profile) -> pd.DataFrame:
    """The problems, or, where they are not here yet, as many empty ones as the profile says there are (`problem_id`
    ends in "?")."""
    try:
        return load_problems(lab)
    except UserError:
        if not all(b.rows for b in lab.benchmarks):
            raise
    places = [(b.name, i) for b in lab.benchmarks for i in range(min(b.rows, wanted(lab, b) or b.rows))]
    rows = ({"benchmark": name, "problem_id": f"{name}-{i}?", "question": f"{name} {i}?"} for name, i in places)
    return pd.DataFrame(rows).assign(answer="?")


def described(lab: Profile, knobs: dict | None = None) -> str:
    """The plan as text: what is missing, by study and model, and its sums as far as they are known."""
    table = plan(lab, knobs)
    lines = [f"{study}: {reason}" for study, reason in table.attrs["left out"].items()]
    if expected_problems(lab).problem_id.str.endswith("?").all():
        lines.append("The problems are not here; the sizes of the benchmarks are those that the profile gives.")
    lacking = table[table.missing > 0] if len(table) else table
    needed = f"{table.needed.sum():,} samples of {table.study.nunique()} studies" if len(table) else "studies"
    if not len(lacking):
        return "\n".join([*lines, f"profile {lab.name}: nothing is missing; the {needed} are stored."])
    units = {"minutes": "minutes on a machine like the store's", "GPU-hours": "GPU-hours", "cost": "cost"}
    sums = [f"{lacking[c].sum():,.3g} {unit}" for c, unit in units.items() if lacking[c].notna().all()]
    sums.append(f"{lacking.megabytes.sum():,.1f} MB on disk")
    lines += [
        f"{what} not known: no {lack} for {', '.join(dict.fromkeys(lacking.model[lacking[what].isna()]))}."
        for what, lack in (("GPU-hours", "tokens_per_second in the profile"), ("cost", f"price in {lab.prices}"))
        if lacking[what].isna().any() and not (what == "GPU-hours" and lacking.minutes.notna().all())
    ]
    if (lacking.basis == "assumed").any():
        lines.append("Where the basis is 'assumed', run a few problems first (`-p n_problems=2`): then it is measured.")
    shown = lacking.dropna(axis=1, how="all").astype(object)
    known = {c: lacking[c].sum() for c in SUMMED if c in shown}
    most = {c: f"≥ {v:,.4g}" if lacking[c].isna().any() else v for c, v in known.items()}
    shown.loc[len(table)] = pd.Series({"study": "all", **most})
    shown = shown.fillna("").to_string(index=False, float_format="{:,.4g}".format)
    total = f"{lacking.missing.sum():,} are missing: about {lacking.tokens.sum():,} tokens, {', '.join(sums)}."
    return "\n".join([f"profile {lab.name}: {needed}", shown, *lines, total])

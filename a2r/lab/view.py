"""Samples that one can look at: one page with every set of a study, from the question to the synthesis."""

import base64
import gzip
import html
import json
import shlex
from pathlib import Path

import jinja2
import pandas as pd

from a2r.answers import answer_component
from a2r.errors import UserError
from a2r.lab import runner
from a2r.outcomes import grade
from a2r.pipeline import cut_sets, explore, synthesize
from a2r.prices import price, read_prices
from a2r.problems import load_problems
from a2r.profiles import KNOBS, ROOT, Profile, load_profile
from a2r.studies.controls import MOVES, transitions

VIEWS = ROOT / "runs" / "views"
HERE = Path(__file__).parent
MOST = 5000  # samples in a page


def write(
    profile: str, study: str = "symmetric", pairs: list[str] | None = None, parameters: dict | None = None
) -> Path:
    """Write runs/views/<profile>-<study>.html with the sets of a study that are in the store; returns its path.

    `pairs`: "explorer>synthesizer" texts (default: `models`, else the profile's, in both roles); `parameters` as the
    run had them, and then the page's name has them too. At most MOST samples are shown, evenly from all pairs.
    UserError if the store has none of the pairs whole.
    """
    given = parameters or {}
    notebook, values, _ = runner.planned(study, profile, given)
    study = notebook.stem[3:]
    if other := [name for name in given if name not in (*KNOBS, "models")]:
        raise UserError(f"'{other[0]}' changes nothing in a view; it takes {', '.join(KNOBS)} and models.")
    lab = load_profile(profile, study).with_(engine="replay", **{k: v for k, v in values.items() if k in KNOBS})
    problems, found, lacking = load_problems(lab), [], ""
    models = values.get("models") or lab.symmetric
    wanted = [tuple(pair.split(">")) for pair in pairs] if pairs else [(m, m) for m in models]
    if odd := [pair for pair in wanted if len(pair) != 2]:
        raise UserError(f"'{'>'.join(odd[0])}' is no pair; give it as explorer>synthesizer.")
    imported = [model for pair in wanted for model in pair if lab.model(model).imported]
    each = max(1, MOST // (len(wanted) * (lab.n_paths + lab.n_syntheses) * lab.n_sets))
    for explorer, synthesizer in wanted:
        try:
            some = problems.iloc[:: -(-len(problems) // each)]
            pool = grade(explore(lab, explorer, some, lab.n_paths * lab.n_sets), some)
            found += sets(some, pool, grade(synthesize(lab, synthesizer, some, pool), some), lab)
        except UserError as error:
            lacking = str(error)
    if not found and imported:
        raise UserError(f"there is nothing to view: {lacking}")
    if not found:
        options = ["--profile", profile] * (profile != "nano")
        options += [text for name, value in given.items() for text in ("-p", f"{name}={value}")]
        makes = f"`{shlex.join(['a2r', 'run', study, *options])}` makes them"
        others = "`a2r view -p KNOB=VALUE` shows what a run with other values made"
        raise UserError(f"there is nothing to view: {lacking.partition(';')[0]}; {makes}, {others}.")
    VIEWS.mkdir(parents=True, exist_ok=True)
    name = "-".join([lab.name, study, *(f"{knob}={value}" for knob, value in given.items())])
    path = VIEWS / f"{name.replace('/', '-')}.html"
    path.write_text(page(found, f"A2R samples: {study} on profile {lab.name}"), encoding="utf-8")
    return path


def widget(problems: pd.DataFrame, pool: pd.DataFrame, syntheses: pd.DataFrame, lab: Profile, height: int = 600):
    """The same page inside a notebook, of one graded pool and its graded syntheses."""
    from IPython.display import HTML

    source = html.escape(page(sets(problems, pool, syntheses, lab), "samples"), quote=True)
    return HTML(f'<iframe srcdoc="{source}" width="100%" height="{height}" style="border:0"></iframe>')


def sets(problems: pd.DataFrame, pool: pd.DataFrame, syntheses: pd.DataFrame, lab: Profile) -> list[dict]:
    """One record a synthesis: its problem, what it read, wrote and cost, and its move (`transitions`)."""
    prices = read_prices(lab.prices)
    moved = transitions(pool, syntheses, problems, lab.n_paths, lab.n_sets)
    moved = moved.assign(cost=price(moved, prices).to_numpy())
    paths = cut_sets(pool.assign(cost=price(pool, prices)), lab.n_paths, lab.n_sets)
    by_set = dict(list(paths.groupby(["problem_id", "set"], sort=False)))
    by_problem = problems.set_index("problem_id")
    records = []
    for s in moved.itertuples():
        read, problem = by_set[s.problem_id, s.set], by_problem.loc[s.problem_id]
        about = {"id": s.problem_id, "set": int(s.set), "question": problem.question, "answer": str(problem.answer)}
        about |= {"explorer": s.explorer, "synthesizer": s.model, "state": s.state, "move": s.move}
        shown = {"right": int(s.right), "paths": [sample(path) for path in read.itertuples()], "synthesis": sample(s)}
        records.append(about | shown | {"cost": number(1000 * (read.cost.sum() + s.cost))})
    return records


def sample(row) -> dict:
    """What the page shows of a sample: thinking apart from what the synthesizer reads, verdict, tokens."""
    said = answer_component(row.text)
    thinking = row.text.removesuffix(said) if said else row.text
    shown = {"thinking": thinking.strip(), "said": said, "answer": row.answer, "correct": bool(row.correct)}
    tokens = {"prompt": number(row.prompt_tokens), "written": number(row.completion_tokens)}
    return shown | tokens | {"ended": row.finish_reason}


def number(value: float) -> float | None:
    """A number for JSON, None where there is none."""
    return None if pd.isna(value) else round(float(value), 4)


def page(records: list[dict], title: str) -> str:
    """The page; its records are compressed, and read by the browser."""
    packed = base64.b64encode(gzip.compress(json.dumps(records).encode(), mtime=0)).decode()
    template = jinja2.Template((HERE / "view.html.j2").read_text(), undefined=jinja2.StrictUndefined)
    css = (HERE / "page.css").read_text()
    return template.render(title=html.escape(title), css=css, data=packed, moves=MOVES)

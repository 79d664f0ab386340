"""What the main studies of a profile (symmetric, grid, cost) would still cost: generations, tokens, GPU-hours, money,
disk.

A `smoke` of two problems (`a2r run grid --profile P -p n_problems=2`) turns the assumptions into means of stored
samples.
"""

import pandas as pd

from a2r.errors import UserError
from a2r.pipeline import explorer_asks, prepare, synthesizer_asks
from a2r.prices import read_prices
from a2r.problems import load_problems
from a2r.profiles import Profile
from a2r.store import Store

# Used only for a model and role of which the store holds nothing: a share of what the sampling allows.
ASSUMED_SHARE = {"explorer": 0.5, "synthesizer": 0.25}
ASSUMED_PROMPT = {"explorer": 200, "synthesizer": 2000}
BYTES_A_TOKEN = 1.5  # on disk: about four characters of text, compressed to a third


def plan(lab: Profile, problems: pd.DataFrame | None = None) -> pd.DataFrame:
    """One row a role and model of the full grid, the symmetric pairs, and the large model that the cost study compares
    with.

    Columns: needed, stored, missing generations; prompt and completion tokens expected of one (`basis`: the mean of the
    stored ones of this model and role, or an assumption); of the missing ones tokens, GPU-hours (nan where the profile
    gives the model no `tokens_per_second`), cost (nan without a price) and megabytes on disk.
    """
    problems = expected_problems(lab) if problems is None else problems
    prices = read_prices(lab.prices)
    with Store(lab.store_path) as store:
        known = store.read()
    known = known[known.error == ""]
    done = set(known.index)
    needed: dict[tuple[str, str], list[int]] = {}
    asks = explorer_asks(lab, problems, lab.n_paths * lab.n_sets)
    pairs = dict.fromkeys(
        [*((e, s) for e in lab.explorers for s in lab.synthesizers), *((m, m) for m in lab.symmetric)]
    )
    for explorer in dict.fromkeys([*(e for e, _ in pairs), lab.efficient[2]]):
        wanted, missing, _ = prepare(lab, explorer, "explorer", asks, done)
        needed["explorer", explorer] = [len(wanted), len(missing)]
        for synthesizer in (s for e, s in pairs if e == explorer):
            count = needed.setdefault(("synthesizer", synthesizer), [0, 0])
            if missing:  # without the paths there are no prompts yet to look up
                wanted_too, lacking = len(problems) * lab.n_sets * lab.n_syntheses, None
            else:
                pool = known.loc[[id_ for id_, _ in wanted]].assign(
                    problem_id=[a.problem_id for _, a in wanted], model=explorer
                )
                found, rows, _ = prepare(
                    lab, synthesizer, "synthesizer", synthesizer_asks(lab, problems, pool.reset_index(drop=True)), done
                )
                wanted_too, lacking = len(found), len(rows)
            count[0] += wanted_too
            count[1] += wanted_too if lacking is None else lacking
    rows = []
    for (role, model), (want, lack) in needed.items():
        seen = known[(known.role == role) & (known.model == model) & (known.revision == lab.model(model).identity)]
        if len(seen):
            basis, prompt, completion = f"{len(seen)} stored", seen.prompt_tokens.mean(), seen.completion_tokens.mean()
        else:
            limit = lab.sampling_of(model, role).max_tokens
            basis, prompt, completion = "assumed", ASSUMED_PROMPT[role], ASSUMED_SHARE[role] * limit
        tokens = {
            "prompt": round(prompt),
            "completion": round(completion),
            "basis": basis,
            "tokens": round(lack * (prompt + completion)),
        }
        price = prices.loc[model] if model in prices.index else None
        cost = float("nan") if price is None else lack * (prompt * price.input + completion * price.output) / 1e6
        speed, gpus = lab.model(model).tokens_per_second or float("nan"), lab.model(model).gpus
        rest = {
            "GPU-hours": gpus * lack * completion / speed / 3600,
            "cost": cost,
            "megabytes": lack * completion * BYTES_A_TOKEN / 1e6,
        }
        rows.append(
            {"role": role, "model": model, "needed": want, "stored": want - lack, "missing": lack, **tokens, **rest}
        )
    return pd.DataFrame(rows).sort_values("role", kind="stable", ignore_index=True)


def expected_problems(lab: Profile) -> pd.DataFrame:
    """The problems, or, where they are not here yet, as many empty ones as the profile says there are (`problem_id`
    ends in "?")."""
    try:
        return load_problems(lab)
    except UserError:
        if not all(b.rows for b in lab.benchmarks):
            raise
    sizes = {b.name: min(b.rows, lab.n_problems or b.rows) for b in lab.benchmarks}
    rows = [
        {"benchmark": name, "problem_id": f"{name}-{i}?", "question": f"{name} {i}?"}
        for name, n in sizes.items()
        for i in range(n)
    ]
    return pd.DataFrame(rows)


def described(lab: Profile) -> str:
    """The plan as text, with its sums."""
    problems = expected_problems(lab)
    table = plan(lab, problems)
    n = (
        f"{lab.n_sets} sets of N = {lab.n_paths}, {lab.n_syntheses} synthesis a set, "
        f"{len(lab.explorers)} explorers x {len(lab.synthesizers)} synthesizers, symmetric pairs, and "
        f"{lab.efficient[2]} by itself; "
        "the other studies come on top"
    )
    hours, cost = (table[c].sum(min_count=len(table)) for c in ("GPU-hours", "cost"))
    lacking = [
        f"no {what} for a model in {where}"
        for value, what, where in ((hours, "tokens_per_second", "the profile"), (cost, "price", lab.prices))
        if pd.isna(value)
    ]
    total = (
        f"{table.missing.sum():,} of {table.needed.sum():,} generations are missing: "
        f"about {table.tokens.sum():,} tokens, "
        f"{hours:.4g} GPU-hours, cost {cost:.4g}, {table.megabytes.sum():,.1f} MB on disk."
        + (f" (nan: {', '.join(lacking)}.)" if lacking else "")
    )
    if problems.problem_id.str.endswith("?").all():
        n += "\nThe problems are not here; the sizes of the benchmarks are those that the profile gives."
    return "\n".join([f"profile {lab.name}: {n}", table.to_string(index=False, float_format="%.4g"), total])

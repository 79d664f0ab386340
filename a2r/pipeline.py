"""The two stages of A2R (arXiv 2509.22044): explore, then synthesize, both over the store of samples.

    pool = explore(profile, explorer, problems, n)           # n paths a problem
    syntheses = synthesize(profile, synthesizer, problems, pool)   # sets of N answer components -> final answers

Asking for samples that are in the store reads them; only the missing ones are generated.
"""

import hashlib
import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass

import pandas as pd
from filelock import Timeout
from tqdm import tqdm  # not tqdm.auto: its widgets would not show when papermill runs a notebook

from a2r import prompts
from a2r.answers import answer_component
from a2r.engines import Engine, Request, automatic, open_engine
from a2r.errors import UserError
from a2r.profiles import Model, Profile
from a2r.store import Store

PATIENCE = 60  # seconds to wait for a processor without a word: studies side by side share them all the time

# fields of an ask, and of a generation, that are columns of its sample
ABOUT = ("benchmark", "problem_id", "set", "explorer", "condition")
RESULT = ("finish_reason", "prompt_tokens", "cached_tokens", "completion_tokens", "seconds", "error")


@dataclass(frozen=True)
class Ask:
    """One prompt on its way to a model, with what the samples table says about it."""

    benchmark: str
    problem_id: str
    messages: tuple[dict[str, str], ...]
    indices: range
    set: int = -1
    explorer: str = ""
    condition: str = ""
    scored: str = ""  # of a scorer: the text whose likelihood is asked for


@dataclass(frozen=True)
class Context:
    """Reference contexts for a synthesizer: the sets of a pool, what of a set's rows is shown (default: their answer
    components; name any other way in `condition`), and how the pool is cut where that is not as the profile says."""

    pool: pd.DataFrame
    condition: str = ""
    components: Callable[[pd.DataFrame], list[str]] | None = None
    n_paths: int | None = None
    n_sets: int | None = None


def explore(profile: Profile, explorer: str, problems: pd.DataFrame, n: int) -> pd.DataFrame:
    """Stage 1: `n` independent paths of `explorer` for each problem; the pool as a samples frame.

    Its rows are ordered by problem and index. Raises UserError for an unknown model or n < 1.
    """
    if n < 1:
        raise UserError(f"explorer {explorer} was asked for {n} paths a problem; ask for at least 1.")
    return ask(profile, explorer, "explorer", explorer_asks(profile, problems, n))


def cut_sets(pool: pd.DataFrame, n_paths: int, n_sets: int) -> pd.DataFrame:
    """The pool with a column `set`: `n_sets` disjoint sets of `n_paths` consecutive paths of every problem.

    Paths beyond n_paths * n_sets are left out. Raises UserError if a problem has fewer.
    """
    needed, have = n_sets * n_paths, min(pool.groupby("problem_id").size(), default=0)
    if have < needed:
        what = f"{n_sets} sets of {n_paths} paths need {needed} samples a problem"
        raise UserError(f"{what}, but the pool has {have}; explore more or ask for fewer.")
    position = pool.groupby("problem_id", sort=False).cumcount()
    return pool.assign(set=(position // n_paths).astype("int32"))[position < needed]


def in_memory(samples: pd.DataFrame) -> pd.DataFrame:
    """The samples with their texts read, all at once, and all strings as plain objects, which are cut much faster: for
    who goes through them set by set."""
    strings = [name for name, kind in samples.dtypes.items() if isinstance(kind, pd.StringDtype)]
    return samples.assign(text=samples.text.astype(object)).astype(dict.fromkeys({*strings} - {"text"}, object))


def synthesize(profile: Profile, synthesizer: str, problems: pd.DataFrame, pool: pd.DataFrame) -> pd.DataFrame:
    """Stage 2: final outputs of `synthesizer` for each set of N answer components of `pool`, as many as the profile
    says.

    The reference order of a set is shuffled by a seed made of (run seed, problem, set), which the prompt hash pins.
    Returns a samples frame with the columns `set` and `explorer`, ordered by problem, set and index.
    """
    return synthesize_all(profile, synthesizer, problems, [Context(pool)])[0]


def synthesize_all(
    profile: Profile, synthesizer: str, problems: pd.DataFrame, contexts: list[Context]
) -> list[pd.DataFrame]:
    """`synthesize` for several reference contexts together: one large batch is faster than many small ones."""
    asks = [
        synthesizer_asks(profile.with_(n_paths=c.n_paths, n_sets=c.n_sets), problems, c.pool, c.condition, c.components)
        for c in contexts
    ]
    samples = ask(profile, synthesizer, "synthesizer", itertools.chain(*asks))
    sizes = [sum(len(item.indices) for item in some) for some in asks]
    return [
        samples[end - size : end].reset_index(drop=True)
        for size, end in zip(sizes, itertools.accumulate(sizes), strict=True)
    ]


def explorer_asks(profile: Profile, problems: pd.DataFrame, n: int) -> list[Ask]:
    """What stage 1 asks for. UserError where the problems lack a column."""
    if lacking := [name for name in ("benchmark", "problem_id", "question") if name not in problems]:
        raise UserError(f"the problems have no column '{lacking[0]}'; take them from load_problems.")
    text = profile.prompt("explorer")
    return [
        Ask(p.benchmark, p.problem_id, tuple(prompts.explorer_messages(p.question, text)), range(n))
        for p in problems.itertuples()
    ]


def synthesizer_asks(
    profile: Profile,
    problems: pd.DataFrame,
    pool: pd.DataFrame,
    condition: str = "",
    components: Callable[[pd.DataFrame], list[str]] | None = None,
) -> list[Ask]:
    """What stage 2 asks for, by problem and set; arguments as in `Context`."""
    components = components or (lambda paths: [answer_component(text) for text in paths.text])
    named = {problem.problem_id: problem for problem in problems.itertuples()}
    explorer, text = "+".join(dict.fromkeys(pool.model)), profile.prompt("synthesizer")
    sets = cut_sets(in_memory(pool), profile.n_paths, profile.n_sets).groupby(["problem_id", "set"], sort=False)
    asks = []
    for (problem_id, number), paths in sets:
        problem, order = named[problem_id], derive_seed(profile.seed, problem_id, number)
        messages = tuple(prompts.synthesizer_messages(problem.question, components(paths), order, text))
        asks.append(
            Ask(problem.benchmark, problem_id, messages, range(profile.n_syntheses), number, explorer, condition)
        )
    return asks


def ask(profile: Profile, name: str, role: str, asks: Iterable[Ask]) -> pd.DataFrame:
    """Read or generate the samples of `asks` from model `name`; rows in the order of the asks and their indices.

    Every finished sample is stored as it comes, so an interrupted call goes on where it stopped. Failed
    samples are kept with their error, count as no answer, and are asked for again by the next call. Where the
    same prompt was asked before, for another problem, set or condition, its samples are shared.
    """
    asks = list(asks)
    with Store(profile.store_path) as store:

        def looked() -> tuple[pd.DataFrame, list, dict, list]:
            known = store.read()
            done = set(known.index.to_numpy(object)[known.error == ""])  # an Arrow column takes seconds to go through
            return known, *prepare(profile, name, role, asks, done)

        found, wanted, rows, requests = looked()
        if requests:
            with turns(store, profile, name, role, asks), store:  # written before the next one looks
                found, wanted, rows, requests = looked()  # again: another study may have sampled them meanwhile
                if requests:
                    generate(profile, profile.model(name), role, requests, rows, store)
            found = store.read()
        if absent := sum(found.index.get_indexer([id_ for id_, _ in wanted]) < 0):
            lack = f"{absent} of {len(wanted)} requests of {name}"
            raise RuntimeError(f"engine '{profile.engine}' gave no sample for {lack}.")
        samples = answered(found, wanted, name, role)
        sys.audit("a2r.samples", profile.store_path, samples)  # for who keeps account of what is read (results.trace)
        return samples


@contextmanager
def turns(store: Store, profile: Profile, name: str, role: str, asks: list[Ask]) -> Iterator[None]:
    """Held by who samples, so that who wants the same samples finds them there: for a small model on a CPU, and of
    servers, the turn of each of its conditions; for one that fills the machine, or any on a GPU, that of all such.

    Of small models as many sample at once as there are processors: one more takes their caches from them."""
    about = f"{name} {role} {profile.sampling_of(name, role).temperature}"
    wanted = {f"{about} {item.condition}" for item in asks}
    if profile.engine != "openai":
        import torch  # the engine will need it

        wanted = {"machine"} if torch.cuda.is_available() or profile.model(name).large else wanted
    with ExitStack() as stack:
        for what in sorted(wanted):  # all in one order, or two could wait for each other
            turn = store.turn(what)
            try:
                turn.acquire(blocking=False)
            except Timeout:
                print(f"{name} as {role} waits for another run, which has the turn '{what}'.", file=sys.stderr)
                turn.acquire()
            stack.callback(turn.release)
        if profile.engine != "openai" and wanted != {"machine"}:
            stack.enter_context(processor(store))
        yield


@contextmanager
def processor(store: Store) -> Iterator[None]:
    """One of the processors, as soon as one is free; who has it waits for no turn. Who waits looks so often that who
    gives one back and wants one again comes after it."""
    began, silent = time.monotonic(), True
    for free in itertools.cycle([store.turn(f"processor {number}") for number in range(os.cpu_count() or 1)]):
        with suppress(Timeout):
            free.acquire(timeout=0.005, poll_interval=0.005)
            break
        if silent and time.monotonic() - began > PATIENCE:
            print("All processors sample for other runs; this one waits for the first to be free.", file=sys.stderr)
            silent = False
    try:
        yield
    finally:
        free.release()


def answered(found: pd.DataFrame, wanted: list[tuple[str, Ask]], name: str, role: str) -> pd.DataFrame:
    """The samples `found`, by id, as the answers to what was `wanted`: each in its place, and under its ask's names."""
    here = {field: [getattr(item, field) for _, item in wanted] for field in ABOUT}
    samples = found.loc[[id_ for id_, _ in wanted]].reset_index(drop=True)
    return samples.assign(role=role, model=name, **here).astype({"set": "int32"})


def prepare(
    profile: Profile, name: str, role: str, asks: Iterable[Ask], done: set[str]
) -> tuple[list[tuple[str, Ask]], dict[str, dict], list[Request]]:
    """Work out what `asks` of model `name` come to, given the ids that are `done`.

    Returns (id, ask) of every sample that is wanted, the missing ones' rows of the samples table by id (without a
    result), and the requests that would make them.
    """
    model, sampling = profile.model(name), profile.sampling_of(name, role)
    described = json.dumps({**asdict(sampling), "template": model.template, "seed": profile.seed}, sort_keys=True)
    who = {"role": role, "model": name, "revision": model.identity, "sampling": described}
    wanted: list[tuple[str, Ask]] = []
    rows: dict[str, dict] = {}
    requests: list[Request] = []
    for item in asks:
        shown = [item.messages, item.scored] if item.scored else item.messages
        sha = hashlib.sha256(json.dumps(shown).encode()).hexdigest()
        ids = [sample_id(model, who["revision"], sha, described, i) for i in item.indices]
        wanted += [(id_, item) for id_ in ids]
        missing = {i: id_ for i, id_ in zip(item.indices, ids, strict=True) if id_ not in done and id_ not in rows}
        if not missing:
            continue
        seeds = tuple(derive_seed(profile.seed, sha, i) for i in missing)
        requests.append(Request(sha, item.messages, sampling, tuple(missing), seeds, model.template, item.scored))
        about = {**who, **{field: getattr(item, field) for field in ABOUT}, "prompt_sha": sha}
        for (index, id_), seed in zip(missing.items(), seeds, strict=True):
            rows[id_] = {"id": id_, **about, "index": index, "seed": seed}
    return wanted, rows, requests


def generate(
    profile: Profile, model: Model, role: str, requests: list[Request], rows: dict[str, dict], store: Store
) -> None:
    """Have an engine generate `requests` and store every sample as it comes, with a progress bar."""
    by_request = {(row["prompt_sha"], row["index"]): row for row in rows.values()}
    if model.imported:
        more = f"{len(rows)} more are wanted of it than there are"
        what = "ask for fewer (n_paths, n_sets, n_pool) or import more"
        raise UserError(f"the paths of {model.name} were imported, and {more}; {what}.")
    if profile.engine == "replay":
        first = next(iter(rows.values()))
        lack = f"lacks {len(rows)} samples of {model.name} as {role}"
        one = f"the first of them sample {first['index']} of problem '{first['problem_id']}'"
        what = "import them with `a2r store import`, or choose an engine that generates"
        raise UserError(f"the store {profile.store_path} {lack}, {one}; {what}.")
    tokens, started = 0, time.monotonic()
    with (
        opened(profile, model) as engine,
        tqdm(total=len(by_request), desc=f"{model.name} as {role}", unit="sample", mininterval=1) as bar,
    ):
        by = {"engine": engine.name, "engine_version": engine.version}
        for g in (engine.score if role == "scorer" else engine.generate)(requests):
            text = "<think>\n" + g.text if model.opened and g.text and "<think>" not in g.text else g.text
            made = {"text": text, "time": time.time()} | {field: getattr(g, field) for field in RESULT}
            sure = {f"logprob_{k}": v for k, v in g.logprobs._asdict().items()} if g.logprobs else {}
            store.add({**by_request[g.key, g.index], **by, **made, **sure})
            tokens += g.completion_tokens or 0
            bar.set_postfix_str(f"{tokens / (time.monotonic() - started):,.0f} tok/s", refresh=False)
            bar.update()


KEPT: dict[str, Engine] = {}  # the last one, if it is small: loading it takes as long as a hundred samples


@contextmanager
def opened(profile: Profile, model: Model) -> Iterator[Engine]:
    """The profile's engine on `model`; closed at the end, or, if it is small, when another one is opened."""
    kind = automatic() if profile.engine == "auto" else profile.engine
    options = profile.engine_options_of(model.name, kind)
    key = repr((kind, model.location, model.identity, options))
    engine = KEPT.pop(key, None)
    while KEPT:
        KEPT.popitem()[1].close()
    engine = engine or open_engine(kind, model.location, model.revision, options)
    keep = False
    try:
        yield engine
        keep = getattr(engine, "small", False)
    finally:
        if keep:
            KEPT[key] = engine
        else:
            engine.close()


def sample_id(model: Model, identity: str, prompt_sha: str, described: str, index: int) -> str:
    """What identifies a generation: model, revision, messages, sampling parameters (with the run seed), index."""
    return hashlib.sha256(json.dumps([model.path, identity, prompt_sha, described, index]).encode()).hexdigest()[:32]


def derive_seed(*parts) -> int:
    """A 63-bit seed from any parts: every sample has its own noise, whatever it is batched with."""
    return int.from_bytes(hashlib.sha256(json.dumps([str(p) for p in parts]).encode()).digest()[:8]) >> 1

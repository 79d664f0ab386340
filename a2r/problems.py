"""Problems: the first of the three tables (benchmark, problem_id, question, answer).

Further columns of the source, such as a level or a domain, are kept.
"""

import hashlib
import json
import os
import re
import sys
import threading
from dataclasses import replace
from functools import cache
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pandas as pd

from a2r.answers import canonical
from a2r.errors import UserError, first_line, nearest
from a2r.profiles import ROOT, Benchmark, Profile

REQUIRED = ["problem_id", "question", "answer"]
NO_ANSWERS = {"nan", "inf", "+inf", "-inf", "infinity", "-infinity", "none", "null", "n/a"}

# How many candidates a path may test, as the problems of the embedded family say it.
DIAL = re.compile(r"\bYou may test (\d+)\.")
CLAIM = re.compile(r"^It is ([a-l+]+):", re.M)  # in its answer components


def dial_of(question: str) -> int | None:
    """How many candidates a question allows a path to test ("You may test 4."); None where it has no such dial."""
    found = DIAL.search(question)
    return int(found[1]) if found else None


def with_tests(question: str, tests: int) -> str:
    """The question with its dial at `tests` (1 to 8 are what the embedded family knows). UserError where it has no
    dial."""
    if not DIAL.search(question):
        what = "does not say how many candidates may be tested; it has no such dial"
        raise UserError(f"the question {question[:60]!r} {what}.")
    return DIAL.sub(f"You may test {tests}.", question)


def made_tests(text: str) -> int:
    """How many candidates an output of the embedded family tested: the lines of its thinking."""
    return sum(bool(line.strip()) for line in text.replace("<think>", "").partition("</think>")[0].splitlines())


def allowed_tests(prompt: str) -> int | None:
    """How many candidates a synthesis of the embedded family may test: those its references claim, and as many more as
    the question's dial says. `prompt` is the text of all its messages; None where there is no dial."""
    dial = dial_of(prompt)
    return None if dial is None else dial + len(set(CLAIM.findall(prompt)))


def load_problems(profile: Profile) -> pd.DataFrame:
    """All benchmarks of a profile, one row a problem: `n_problems` evenly spaced ones of each, where they say so.

    Raises UserError where a source is missing, empty, lacks a column, or holds a duplicate id or an empty question.
    """
    if not profile.benchmarks:
        raise UserError(f"profile '{profile.name}' names no benchmark; add one under 'benchmarks'.")
    problems = pd.concat([spaced(read(b), wanted(profile, b)) for b in profile.benchmarks], ignore_index=True)
    for twice in problems[problems.problem_id.duplicated()].itertuples():
        said = f"benchmark '{twice.benchmark}' has the problem id '{twice.problem_id}' of another benchmark"
        raise UserError(f"{said}; rename its ids.")
    return problems


def wanted(profile: Profile, benchmark: Benchmark) -> int | None:
    """How many problems of a benchmark: its own number or the profile's, whichever is lower; None: all."""
    return min(filter(None, (benchmark.n_problems, profile.n_problems)), default=None)


def spaced(problems: pd.DataFrame, wanted: int | None) -> pd.DataFrame:
    """`wanted` evenly spaced problems, or all where there are no more."""
    if wanted is None or wanted >= len(problems):
        return problems
    return problems.iloc[[i * len(problems) // wanted for i in range(wanted)]]


def read(benchmark: Benchmark) -> pd.DataFrame:
    """Read one benchmark and check it; a `problem_id` is made from the row number where there is none."""
    path, where = ROOT / benchmark.path, f"benchmark '{benchmark.name}' ({benchmark.path})"
    text = {benchmark.columns.get(column, column): str for column in REQUIRED}
    readers = {
        ".parquet": pd.read_parquet,
        ".jsonl": lambda file: pd.read_json(file, lines=True, dtype=False),
        ".csv": lambda file: pd.read_csv(file, dtype=text, keep_default_na=False),
    }
    if path.exists() and path.suffix in readers:
        sys.audit("open", str(path), "r", 0)  # Parquet is opened below Python (results.trace)
        try:
            frame = readers[path.suffix](path)
        except pd.errors.EmptyDataError:
            frame = pd.DataFrame()
        except (ValueError, OSError) as error:
            reason = first_line(error).rstrip(".")
            raise UserError(f"{where} cannot be read ({reason}); give a whole {path.suffix} file.") from error
    elif path.is_dir():
        frame = from_hub(replace(benchmark, path=str(path), revision=None), where)
    elif path.exists():
        raise UserError(f"{where} is no .parquet, .jsonl or .csv file; give the path of one.")
    elif path.suffix in readers:
        raise UserError(f"{where} is not there: looked for it beside the profile and at {path}; correct its path.")
    else:
        frame = from_hub(benchmark, where)
    if frame.empty:
        raise UserError(f"{where} is empty; give a file with at least one problem.")
    for ours, theirs in benchmark.columns.items():
        if theirs not in frame:
            given = f"{nearest(theirs, frame.columns)}, which the profile gives as its {ours}"
            raise UserError(f"{where} has no column '{theirs}'{given}; its columns are {', '.join(frame.columns)}.")
    # a column of theirs that has the name of one of ours, but is not what the profile maps to it, makes room
    frame = frame.drop(columns=set(benchmark.columns) - set(benchmark.columns.values()), errors="ignore")
    frame = frame.rename(columns={theirs: ours for ours, theirs in benchmark.columns.items()})
    if "problem_id" not in frame:
        frame.insert(0, "problem_id", [f"{benchmark.name}-{i}" for i in range(len(frame))])
    return check(frame, benchmark, where)


def from_hub(benchmark: Benchmark, where: str) -> pd.DataFrame:
    """The rows of a hub data set at its pinned revision, or of a folder with the files of one."""
    online()  # if it is not, what is in the cache is taken without asking again and again

    import datasets

    try:
        return datasets.load_dataset(benchmark.path, revision=benchmark.revision, split=benchmark.split).to_pandas()
    except Exception as error:  # the hub client raises a dozen kinds; the user needs one sentence
        reason = first_line(error)
        what = f"download it and put its rows as data/problems/{benchmark.name}.parquet (or .jsonl, .csv)"
        raise UserError(
            f"{where} is neither a local file nor could it be had from the hub ({reason}); where there is a "
            f"connection, {what}, then give that file as the benchmark's path."
        ) from error


@cache
def online() -> bool:
    """Whether the hub can be reached, found out once and in seconds; if not, its clients are told, who would try for
    minutes."""
    from huggingface_hub import constants

    answers = []

    def ask() -> None:
        try:
            urlopen(Request(constants.ENDPOINT, method="HEAD"), timeout=3)
        except HTTPError:
            pass  # that is an answer too
        except OSError:
            return
        answers.append(True)

    if not constants.HF_HUB_OFFLINE:
        thread = threading.Thread(target=ask, daemon=True)  # looking up a name knows no time limit
        thread.start()
        thread.join(4)
        os.environ["HF_HUB_OFFLINE"], constants.HF_HUB_OFFLINE = str(int(not answers)), not answers
    return not constants.HF_HUB_OFFLINE


def check(frame: pd.DataFrame, benchmark: Benchmark, where: str) -> pd.DataFrame:
    """The frame with its columns in order and as text, or a UserError that says what is wrong with it."""
    if missing := [column for column in REQUIRED if column not in frame]:
        columns = ", ".join(frame.columns)
        raise UserError(f"{where} has no column '{missing[0]}'; its columns are {columns}: map them under 'columns'.")
    if benchmark.rows is not None and len(frame) != benchmark.rows:
        raise UserError(f"{where} has {len(frame)} rows instead of {benchmark.rows}; check the revision.")
    frame = frame.assign(benchmark=benchmark.name, **{c: frame[c].map(as_text) for c in REQUIRED})

    def refuse(wrong: pd.Series, said: str) -> None:
        for row in frame[wrong].itertuples():
            raise UserError(f"{where} has {said.format(row)}.")

    for column in ("question", "answer"):
        empty = frame[column].str.strip() == ""
        refuse(empty, f"no {column} for problem '{{0.problem_id}}'; fill it in or drop the row")
    nothing = frame.answer.str.strip().str.lower().isin(NO_ANSWERS)
    refuse(nothing, "'{0.answer}' as the answer of problem '{0.problem_id}'; correct it or drop the row")
    refuse(frame.problem_id.duplicated(), "the problem id '{0.problem_id}' more than once; make the ids unique")
    if benchmark.integer_answers:
        what = "which is no integer; correct it, or set integer_answers to false"
        other = ~frame.answer.map(canonical).str.fullmatch(r"-?\d+")
        refuse(other, f"the answer '{{0.answer}}' for problem '{{0.problem_id}}', {what}")
    if benchmark.sha256 is not None and (sha256 := content(frame)) != benchmark.sha256:
        what = "take the copy that the results to compare with were made on, or set sha256 to that"
        raise UserError(f"{where} has other questions or answers than the profile names (sha256 {sha256}); {what}.")
    return frame[list(dict.fromkeys(["benchmark", *REQUIRED, *frame.columns]))]


def content(problems: pd.DataFrame) -> str:
    """A hash of what is asked and answered, whatever the file's form, ids and order: copies of a benchmark differ in
    single rows."""
    pairs = sorted((" ".join(p.question.split()), canonical(p.answer)) for p in problems.itertuples())
    return hashlib.sha256(json.dumps(pairs).encode()).hexdigest()


def as_text(value) -> str:
    """A cell as text: 33.0 read from a column of floats is the integer 33, a missing value is ''."""
    if pd.api.types.is_scalar(value) and pd.isna(value):
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)

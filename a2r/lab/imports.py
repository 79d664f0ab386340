"""Paths of others: generations that somebody published, or that one has already, as a pool in the store.

`bring` reads files in one of FORMATS and leaves three things: the problems with their answers as a benchmark, the
paths as samples of models that cannot be asked for more, and a profile of both over one that is there. What a file
does not say (tokens, seconds) is null; a row that cannot be read is named, and no other is lost."""

import json
import re
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import yaml

from a2r.answers import canonical
from a2r.errors import UserError
from a2r.pipeline import Ask, explorer_asks, prepare
from a2r.profiles import IMPORTED, PROFILES, ROOT, Profile, load_profile, raw_profile
from a2r.store import Store

FOLDER = ROOT / "runs" / "imported"


@dataclass(frozen=True)
class Theirs:
    """One path as a file has it: None is what it does not say."""

    question: str
    answer: str  # the right one
    text: str
    model: str | None = None
    problem_id: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    seconds: float | None = None
    finish_reason: str | None = None

    def __post_init__(self):
        for name in ("question", "answer", "text"):
            if not isinstance(value := getattr(self, name), str):
                raise ValueError(f"its {name} is {str(value)[:40]!r} and no text")
            if name != "text" and not value.strip():
                raise ValueError(f"its {name} is empty")


@dataclass
class Brought:
    """What `bring` did: the profile that it wrote, paths by model, and the rows that were left out, each with the
    reason."""

    profile: Path
    paths: dict[str, int]
    problems: int
    bad: list[str]


def matharena(row: dict) -> Iterator[Theirs]:
    """MathArena: a row of its published outputs (one answer), or a file of its runs (all answers to one problem)."""
    if "all_messages" in row or "model_name" in row:
        yield Theirs(
            **{"question": row["problem"], "answer": text_of(row["gold_answer"]), "text": row["answer"]},
            **{"model": row["model_name"], "problem_id": text_of(row["problem_idx"])},
            **{"prompt_tokens": row.get("input_tokens"), "completion_tokens": row.get("output_tokens")},
        )
        return
    costs = row.get("detailed_costs") or [{}] * len(row["messages"])
    for messages, cost in zip(row["messages"], costs, strict=True):
        yield Theirs(
            **{"question": row["problem"], "answer": text_of(row["gold_answer"]), "text": messages[-1]["content"]},
            problem_id=None if row.get("idx") is None else text_of(row["idx"]),
            **{"prompt_tokens": cost.get("input_tokens"), "completion_tokens": cost.get("output_tokens")},
        )


def nemo_skills(row: dict) -> Iterator[Theirs]:
    """NeMo-Skills: a line of an output*.jsonl, one file a random seed; the model is not in it."""
    yield Theirs(
        **{"question": row["problem"], "answer": text_of(row["expected_answer"]), "text": row["generation"]},
        problem_id=None if row.get("id") is None else text_of(row["id"]),
        completion_tokens=row.get("num_generated_tokens"),
        seconds=row.get("generation_time"),
        finish_reason=row.get("finish_reason"),
    )


def lighteval(row: dict) -> Iterator[Theirs]:
    """lighteval: a row of its details (doc, model_response), with all answers of a problem; the model is the
    folder's."""
    doc, made = row["doc"], row["model_response"]
    gold = doc["gold_index"][0] if isinstance(doc["gold_index"], list) else doc["gold_index"]
    written = made.get("output_tokens") or [None] * len(made["text"])
    for text, tokens in zip(made["text"], written, strict=True):
        yield Theirs(
            **{"question": doc["query"], "answer": text_of(doc["choices"][gold]), "text": text},
            problem_id=None if doc.get("id") is None else text_of(doc["id"]),
            prompt_tokens=len(made["input_tokens"]) if made.get("input_tokens") else None,
            completion_tokens=None if tokens is None else len(tokens),
        )


def inspect(row: dict) -> Iterator[Theirs]:
    """Inspect: a sample of a log; epochs are paths of one problem. Reasoning is put where A2R's samples have it."""
    if row.get("error"):
        raise ValueError(f"it failed: {row['error'].get('message', row['error'])}"[:200])
    question, target, output = row["input"], row["target"], row["output"]
    if isinstance(question, list):
        question = next(said(message) for message in reversed(question) if message["role"] == "user")
    usage = (output.get("usage") or {}) if len(output["choices"]) == 1 else {}
    for choice in output["choices"]:
        yield Theirs(
            **{"question": question, "answer": text_of(target[0] if isinstance(target, list) else target)},
            **{"text": said(choice["message"]), "model": output.get("model") or row.get("log_model")},
            **{"problem_id": text_of(row["id"]), "finish_reason": choice.get("stop_reason")},
            **{"prompt_tokens": usage.get("input_tokens"), "completion_tokens": usage.get("output_tokens")},
            seconds=output.get("time") if usage else None,
        )


def jsonl(row: dict) -> Iterator[Theirs]:
    """Our own: question, answer (the right one), text; and where there are: model, problem_id, tokens, seconds,
    reason."""
    known = ("model", "prompt_tokens", "completion_tokens", "seconds", "finish_reason")
    yield Theirs(
        **{"question": row["question"], "answer": text_of(row["answer"]), "text": row["text"]},
        problem_id=None if row.get("problem_id") is None else text_of(row["problem_id"]),
        **{name: row.get(name) for name in known},
    )


FORMATS: dict[str, Callable[[dict], Iterator[Theirs]]] = {
    **{"matharena": matharena, "nemo-skills": nemo_skills, "lighteval": lighteval, "inspect": inspect, "jsonl": jsonl}
}


def said(message: dict) -> str:
    """A chat message of Inspect as text, its reasoning between thinking marks."""
    content = message["content"]
    if isinstance(content, str):
        return content
    thought = "\n".join(part["reasoning"] for part in content if part["type"] == "reasoning")
    text = "\n".join(part["text"] for part in content if part["type"] == "text")
    return f"<think>\n{thought}\n</think>\n\n{text}" if thought else text


def text_of(value) -> str:
    """A number or text as text; ValueError for anything else."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError(f"{str(value)[:40]!r} stands where a number or a text should")
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def rows(file: Path) -> Iterator[tuple[str, dict | Exception]]:
    """(where, row) of a .jsonl, .parquet, .json or .eval file; an exception in place of a row that is none.

    UserError for a file of another kind, or one that cannot be opened.
    """
    try:
        if file.suffix == ".jsonl":
            with file.open(encoding="utf-8") as lines:
                for number, line in enumerate(lines, 1):
                    if line.strip():
                        yield f"{file.name} line {number}", _parsed(line)
        elif file.suffix == ".parquet":
            number = 0
            for batch in pq.ParquetFile(file).iter_batches(256):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{file.name} row {number}", row
        elif file.suffix == ".json":
            whole = json.loads(file.read_text(encoding="utf-8"))
            model = (whole.get("eval") or {}).get("model")
            for number, row in enumerate(whole.get("samples", [whole]), 1):
                yield f"{file.name} sample {number}", {"log_model": model, **row}
        elif file.suffix == ".eval":
            with zipfile.ZipFile(file) as log:
                model = json.loads(log.read("header.json")).get("eval", {}).get("model")
                for name in sorted(n for n in log.namelist() if n.startswith("samples/") and n.endswith(".json")):
                    row = _parsed(log.read(name))
                    yield f"{file.name} {name}", {"log_model": model, **row} if isinstance(row, dict) else row
        else:
            raise UserError(f"{file} is no .jsonl, .parquet, .json or .eval file; give one of these.")
    except (OSError, ValueError, KeyError, AttributeError, zipfile.BadZipFile) as error:
        raise UserError(f"{file} cannot be read ({str(error).splitlines()[0]}); give a whole file.") from error


def read(files: list[Path], format: str, model: str | None = None) -> tuple[list[Theirs], list[str]]:
    """All paths of the files in their order, with a model and a problem's id each, and what was left out, by row and
    reason.

    Problems are told apart by their question; `model` names the model where a file does not.
    """
    paths, bad, ids = [], [], {}
    for file in files:
        for where, row in rows(file):
            try:
                if isinstance(row, Exception):
                    raise row
                whole = []
                for path in FORMATS[format](row):
                    name, key = path.model or model, " ".join(path.question.split())
                    if name is None:
                        raise ValueError("no model is named; give one with --model")
                    known, gold = ids.setdefault(key, (path.problem_id or f"problem-{len(ids)}", path.answer))
                    if canonical(gold) != canonical(path.answer):
                        raise ValueError(
                            f"its problem has the answer '{gold}' in an earlier row, and here '{path.answer}'"
                        )
                    whole.append(Theirs(**{**vars(path), "model": name, "problem_id": known, "answer": gold}))
                paths += whole  # a row is taken whole or not at all
            except KeyError as error:
                bad.append(f"{where}: it has no {error}")
            except (ValueError, TypeError, IndexError, AttributeError, StopIteration) as error:
                bad.append(f"{where}: {str(error).splitlines()[0] if str(error) else type(error).__name__}")
    return paths, bad


def bring(files: list[Path], format: str, profile: str, name: str, model: str | None = None) -> Brought:
    """Take the paths of `files` into the store of `profile`, and write runs/imported/<name>.yaml, a profile over them.

    There the models of the files are explorers beside the profile's models (one of a name that the profile has is
    called "... (imported)"), the benchmark is the problems that all of them have paths for, and n_sets what each has
    paths for. Bringing the same again adds nothing. UserError, and nothing brought, where no row can be read."""
    if format not in FORMATS:
        raise UserError(f"there is no format '{format}'; choose {', '.join(FORMATS)}.")
    if not re.fullmatch(r"[\w.-]+", name):
        raise UserError(f"'{name}' is no name for a profile; use letters, digits, dots and dashes.")
    if name in {p.stem for p in PROFILES.glob("*.yaml")}:
        raise UserError(f"'{name}' is a profile that the repository has; choose another name.")
    paths, bad = read(files, format, model)
    if not paths:
        raise UserError(f"{files[0]} holds no path in the format {format} ({(bad or ['it is empty'])[0]}).")
    table, base = pd.DataFrame([vars(path) for path in paths]), load_profile(profile)
    table["model"] = [f"{m} (imported)" if m in {x.name for x in base.models} else m for m in table.model]
    if len(twice := table.drop_duplicates(["problem_id", "question"]).loc[lambda t: t.problem_id.duplicated()]):
        table["problem_id"] = table.groupby("question", sort=False).ngroup().map("problem-{}".format)
        bad.append(f"(two questions have the id '{twice.problem_id.iloc[0]}', so that all problems were numbered anew)")
    counts = table.groupby(["model", "problem_id"]).size().unstack(fill_value=0)
    shared = counts.loc[:, (counts > 0).all()]
    for own, row in counts.iterrows():
        if lack := int((row == 0).sum()):
            bad.append(f"({own} has no path for {lack} of {counts.shape[1]} problems, which are not in the benchmark)")
    if shared.empty:
        raise UserError(f"no problem has paths of all of {', '.join(counts.index)}; import them one by one.")
    problems = table.drop_duplicates("problem_id")[["problem_id", "question", "answer"]].assign(benchmark=name)
    lab = _profile(problems[problems.problem_id.isin(shared.columns)], shared, profile, base, name)
    with Store(lab.store_path) as store:
        known = store.read()
        done = set(known.index[known.error == ""])
        for own in counts.index:
            mine = {key: part.to_dict("records") for key, part in table[table.model == own].groupby("problem_id")}
            asks = [
                Ask(a.benchmark, a.problem_id, a.messages, range(len(mine[a.problem_id])))
                for a in explorer_asks(lab, problems, 1)
                if a.problem_id in mine
            ]
            _, made, _ = prepare(lab, own, "explorer", asks, done)
            for row in made.values():
                store.add({**row, **_result(mine[row["problem_id"]][row["index"]], format)})
    return Brought(FOLDER / f"{name}.yaml", counts.sum(axis=1).to_dict(), shared.shape[1], bad)


def _profile(problems: pd.DataFrame, counts: pd.DataFrame, profile: str, base: Profile, name: str) -> Profile:
    """Write the benchmark and the profile of `bring`, and load it. What no price table prices has no cost."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    columns = ["problem_id", "question", "answer"]
    problems[columns].to_json(FOLDER / f"{name}.jsonl", orient="records", lines=True, force_ascii=False)
    theirs = [{"name": m, "path": f"{IMPORTED}{name}:{m.replace('/', '--')}"} for m in counts.index]
    fewest = int(counts.to_numpy().min())
    n_paths = min(base.n_paths, fewest)
    where = FOLDER.relative_to(ROOT) if FOLDER.is_relative_to(ROOT) else FOLDER
    raw = raw_profile(profile)
    raw |= {
        "models": [*raw["models"], *theirs],
        "benchmarks": [{"name": name, "path": str(where / f"{name}.jsonl"), "rows": len(problems)}],
        "explorers": [m["name"] for m in theirs],
        "symmetric": list(base.symmetric),
        "synthesizers": list(base.synthesizers),
        "efficient": [theirs[0]["name"], *base.efficient[1:]],
        "prices": str(ROOT / base.prices),
        "n_paths": n_paths,
        "n_sets": fewest // n_paths,
        "n_problems": None,
        **{"store": str(base.store_path), "figures": str(ROOT / base.figures)},  # not beside the new file
        "studies": {},
    }
    path = FOLDER / f"{name}.yaml"
    path.write_text(f"# Made by a2r import paths over {profile}.\n" + yaml.safe_dump(raw, sort_keys=False))
    return load_profile(str(path))


def _result(path: dict, format: str) -> dict:
    """The columns of a sample that tell what was generated, and where it comes from."""
    given = {
        key: None if path[key] != path[key] else path[key] for key in ("prompt_tokens", "completion_tokens", "seconds")
    }
    reason = path["finish_reason"] or "unknown"
    return {
        **given,
        **{"text": path["text"], "finish_reason": {"max_tokens": "length"}.get(reason, reason), "error": ""},
        **{"engine": "imported", "engine_version": format, "sampling": json.dumps({"imported": format})},
        **{"cached_tokens": None, "seed": -1, "time": time.time()},
    }


def _parsed(line: str | bytes) -> dict | Exception:
    try:
        row = json.loads(line)
        return row if isinstance(row, dict) else ValueError("it is no JSON object")
    except ValueError as error:
        return ValueError(f"it is no JSON ({error})")

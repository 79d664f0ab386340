"""Paths of others: generations that somebody published, or that one has already, as a pool in the store.

`bring` reads files in one of FORMATS and leaves three things: the problems with their answers as a benchmark, the
paths as samples of models that cannot be asked for more, and a profile of both over one that is there. What a file
does not say (tokens, seconds) is null; a row that cannot be read is named, and no other is lost."""

import hashlib
import json
import re
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pyarrow.parquet as pq
import yaml

from a2r.answers import canonical
from a2r.errors import UserError, first_line, nearest
from a2r.pipeline import Ask, explorer_asks, prepare
from a2r.problems import as_text
from a2r.profiles import IMPORTED, ROOT, Profile, from_root, load_profile, raw_profile
from a2r.profiles import available as profiles
from a2r.store import Store

FOLDER = ROOT / "runs" / "imported"
COLUMNS = ["question", "answer", "text", "model", "problem_id"]  # of a path: `answer` is the right one
MEASURED = ["prompt_tokens", "completion_tokens", "seconds", "finish_reason"]


class Brought(NamedTuple):
    """What `bring` did."""

    profile: Path
    paths: dict[str, int]  # by model
    problems: int
    bad: list[str]  # the rows that were left out, each with the reason


def matharena(row: dict) -> Iterator[dict]:
    """MathArena: a row of its published outputs (one answer), or a file of its runs (all answers to one problem)."""
    about = {"question": row["problem"], "answer": row["gold_answer"]}
    about |= {"model": row.get("model_name"), "problem_id": row.get("problem_idx", row.get("idx"))}
    if "model_name" in row:
        written = [(row["answer"], row)]
    else:
        costs = row.get("detailed_costs") or [{}] * len(row["messages"])
        written = [(said[-1]["content"], cost) for said, cost in zip(row["messages"], costs, strict=True)]
    for text, cost in written:
        tokens = {"prompt_tokens": cost.get("input_tokens"), "completion_tokens": cost.get("output_tokens")}
        yield {**about, "text": text, **tokens}


def nemo_skills(row: dict) -> Iterator[dict]:
    """NeMo-Skills: a line of an output*.jsonl, one file a random seed; the model is not in it."""
    yield {
        **{"question": row["problem"], "answer": row["expected_answer"], "text": row["generation"]},
        **{"problem_id": row.get("id"), "completion_tokens": row.get("num_generated_tokens")},
        **{"seconds": row.get("generation_time"), "finish_reason": row.get("finish_reason")},
    }


def lighteval(row: dict) -> Iterator[dict]:
    """lighteval: a row of its details (doc, model_response), all answers of a problem; the model is the folder's."""
    doc, made = row["doc"], row["model_response"]
    gold = doc["gold_index"][0] if isinstance(doc["gold_index"], list) else doc["gold_index"]
    written = made.get("output_tokens") or [None] * len(made["text"])
    for text, tokens in zip(made["text"], written, strict=True):
        yield {
            **{"question": doc["query"], "answer": doc["choices"][gold], "text": text, "problem_id": doc.get("id")},
            "prompt_tokens": len(made["input_tokens"]) if made.get("input_tokens") else None,
            "completion_tokens": None if tokens is None else len(tokens),
        }


def inspect(row: dict) -> Iterator[dict]:
    """Inspect: a sample of a log; epochs are paths of one problem. Reasoning is put where A2R's samples have it."""
    if row.get("error"):
        raise ValueError(f"it failed: {row['error'].get('message', row['error'])}"[:200])
    question, target, output = row["input"], row["target"], row["output"]
    if isinstance(question, list):
        question = next(said(message) for message in reversed(question) if message["role"] == "user")
    usage = (output.get("usage") or {}) if len(output["choices"]) == 1 else {}
    for choice in output["choices"]:
        yield {
            **{"question": question, "answer": target[0] if isinstance(target, list) else target},
            **{"text": said(choice["message"]), "model": output.get("model"), "problem_id": row["id"]},
            **{"prompt_tokens": usage.get("input_tokens"), "completion_tokens": usage.get("output_tokens")},
            **{"seconds": output.get("time") if usage else None, "finish_reason": choice.get("stop_reason")},
        }


def jsonl(row: dict) -> Iterator[dict]:
    """Our own: question, answer (the right one), text; where there are: model, problem_id, tokens, seconds, reason."""
    own = {name: row[name] for name in ("question", "answer", "text")}
    yield own | {name: row.get(name) for name in ("model", "problem_id", *MEASURED)}


READERS = (matharena, nemo_skills, lighteval, inspect, jsonl)
FORMATS: dict[str, Callable[[dict], Iterator[dict]]] = {read.__name__.replace("_", "-"): read for read in READERS}


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
    return as_text(value)


def checked(path: dict, model: str | None) -> dict:
    """A path with its answer, id and model as text; ValueError where something lacks or is no text."""
    path["answer"] = text_of(path["answer"])
    for name in ("question", "text"):
        if not isinstance(path[name], str):
            raise ValueError(f"its {name} is {str(path[name])[:40]!r} and no text")
    if empty := [name for name in ("question", "answer") if not path[name].strip()]:
        raise ValueError(f"its {empty[0]} is empty")
    for name in ("prompt_tokens", "completion_tokens", "seconds"):
        value, kind = path.get(name), "number" if name == "seconds" else "whole number"
        if value is None or value != value:  # a table has nan where nothing is known
            continue
        fits = isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0
        if not fits or (kind == "whole number" and not float(value).is_integer()):
            raise ValueError(f"its {name} is {str(value)[:40]!r} and no {kind} of 0 or more")
    path["model"] = path.get("model") or model
    if path["model"] is None:
        raise ValueError("no model is named; give one with --model")
    path["problem_id"] = None if path.get("problem_id") is None else text_of(path["problem_id"])
    return path


def rows(file: Path) -> Iterator[tuple[str, dict | str | bytes, str | None]]:
    """(where, row, its model where the whole file has one) of a .jsonl, .parquet, .json or .eval file; a row as JSON
    where it is still to be parsed.

    UserError for a file of another kind, or one that cannot be opened.
    """
    try:
        if file.suffix == ".jsonl":
            with file.open("rb") as lines:
                for number, line in enumerate(lines, 1):
                    if line.strip():
                        yield f"{file.name} line {number}", line, None
        elif file.suffix == ".parquet":
            batches = pq.ParquetFile(file).iter_batches(256)
            for number, row in enumerate((row for batch in batches for row in batch.to_pylist()), 1):
                yield f"{file.name} row {number}", row, None
        elif file.suffix == ".json":
            whole = json.loads(file.read_text(encoding="utf-8"))
            for number, row in enumerate(whole.get("samples", [whole]), 1):
                yield f"{file.name} sample {number}", row, (whole.get("eval") or {}).get("model")
        elif file.suffix == ".eval":
            with zipfile.ZipFile(file) as log:
                model = json.loads(log.read("header.json")).get("eval", {}).get("model")
                for name in sorted(n for n in log.namelist() if n.startswith("samples/") and n.endswith(".json")):
                    yield f"{file.name} {name}", log.read(name), model
        else:
            raise UserError(f"{file} is no .jsonl, .parquet, .json or .eval file; give one of these.")
    except (OSError, ValueError, KeyError, AttributeError, zipfile.BadZipFile) as error:
        raise UserError(f"{file} cannot be read ({first_line(error)}); give a whole file.") from error


def read(files: list[Path], format: str, model: str | None = None) -> tuple[list[dict], list[str]]:
    """All paths of the files in their order (COLUMNS, and of MEASURED what is known), and what was left out, by row and
    reason. Problems are told apart by their question; `model` names the model where a file does not."""
    paths, bad, ids = [], [], {}
    for file in files:
        for where, row, own in rows(file):
            try:
                row = row if isinstance(row, dict) else json.loads(row)
                if not isinstance(row, dict):
                    raise ValueError("it is no JSON object")
                whole = [checked(path, own or model) for path in FORMATS[format](row)]
                for path in whole:
                    key = " ".join(path["question"].split())
                    known, gold = ids.setdefault(key, (path["problem_id"] or f"problem-{len(ids)}", path["answer"]))
                    if canonical(gold) != canonical(path["answer"]):
                        here = f"in an earlier row, and here '{path['answer']}'"
                        raise ValueError(f"its problem has the answer '{gold}' {here}")
                    path |= {"problem_id": known, "answer": gold}
                paths += whole  # a row is taken whole or not at all
            except json.JSONDecodeError as error:
                bad.append(f"{where}: it is no JSON ({error})")
            except KeyError as error:
                bad.append(f"{where}: it has no {error}")
            except (ValueError, TypeError, IndexError, AttributeError, StopIteration) as error:
                bad.append(f"{where}: {first_line(error)}")
    return paths, bad


def bring(files: list[Path], format: str, profile: str, name: str, model: str | None = None) -> Brought:
    """Take the paths of `files` into the store of `profile`, and write runs/imported/<name>.yaml, a profile over them.

    There the models of the files are explorers beside the profile's models (one of a name that the profile has is
    called "... (imported)"), the benchmark is the problems that all of them have paths for, and n_sets what each has
    paths for. Bringing the same again adds nothing. UserError, and nothing brought, where no row can be read."""
    if format not in FORMATS:
        raise UserError(f"there is no format '{format}'{nearest(format, FORMATS)}; choose {', '.join(FORMATS)}.")
    if not re.fullmatch(r"[\w.-]+", name):
        raise UserError(f"'{name}' is no name for a profile; use letters, digits, dots and dashes.")
    if name in profiles():
        raise UserError(f"'{name}' is a profile that the repository has; choose another name.")
    base, (paths, bad) = load_profile(profile), read(files, format, model)
    if not paths:
        raise UserError(f"{files[0]} holds no path in the format {format} ({(bad or ['it is empty'])[0]}).")
    table = pd.DataFrame(paths).reindex(columns=COLUMNS + MEASURED)
    table["model"] = [f"{m} (imported)" if m in {x.name for x in base.models} else m for m in table.model]
    if len(twice := table.drop_duplicates(["problem_id", "question"]).loc[lambda t: t.problem_id.duplicated()]):
        table["problem_id"] = table.groupby("question", sort=False).ngroup().map("problem-{}".format)
        bad.append(f"(two questions have the id '{twice.problem_id.iloc[0]}', so that all problems were numbered anew)")
    counts = table.groupby(["model", "problem_id"]).size().unstack(fill_value=0)
    shared = counts.loc[:, (counts > 0).all()]
    for own, lack in (counts == 0).sum(axis=1)[lambda lacks: lacks > 0].items():
        bad.append(f"({own} has no path for {lack} of {counts.shape[1]} problems, which are not in the benchmark)")
    if shared.empty:
        raise UserError(f"no problem has paths of all of {', '.join(counts.index)}; import them one by one.")
    problems = table.drop_duplicates("problem_id")[["problem_id", "question", "answer"]]
    marks = {own: hashlib.sha256(mine.to_json().encode()).hexdigest()[:8] for own, mine in table.groupby("model")}
    lab = _profile(problems[problems.problem_id.isin(shared.columns)], shared, marks, profile, base, name)
    made = {"error": "", "engine": "imported", "engine_version": format, "sampling": json.dumps({"imported": format})}
    made |= {"cached_tokens": None, "seed": -1, "time": time.time()}
    told = table[["text", *MEASURED]].astype(object).where(table[["text", *MEASURED]].notna(), None)
    told["finish_reason"] = told.finish_reason.replace({None: "unknown", "max_tokens": "length"})
    with Store(lab.store_path) as store:
        known = store.read()
        done = set(known.index[known.error == ""])
        for own, mine in table.groupby("model"):
            places = mine.groupby("problem_id").groups
            asks = [
                Ask(a.benchmark, a.problem_id, a.messages, range(len(places[a.problem_id])))
                for a in explorer_asks(lab, problems.assign(benchmark=name), 1)
                if a.problem_id in places
            ]
            for row in prepare(lab, own, "explorer", asks, done)[1].values():
                store.add({**row, **made, **told.loc[places[row["problem_id"]][row["index"]]]})
    return Brought(FOLDER / f"{name}.yaml", counts.sum(axis=1).to_dict(), shared.shape[1], bad)


def _profile(
    problems: pd.DataFrame, counts: pd.DataFrame, marks: dict[str, str], profile: str, base: Profile, name: str
) -> Profile:
    """Write the benchmark and the profile of `bring`, and load it. What no price table prices has no cost.

    `marks`, a hash of each model's rows, is in its path: a file that was corrected brings other samples."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    benchmark, path = FOLDER / f"{name}.jsonl", FOLDER / f"{name}.yaml"
    problems.to_json(benchmark, orient="records", lines=True, force_ascii=False)
    theirs = [{"name": m, "path": f"{IMPORTED}{name}:{m.replace('/', '--')}:{marks[m]}"} for m in counts.index]
    fewest, raw = int(counts.to_numpy().min()), raw_profile(profile)
    n_paths = min(base.n_paths, fewest)
    raw |= {
        "models": [*raw["models"], *theirs],
        "benchmarks": [{"name": name, "path": from_root(benchmark), "rows": len(problems)}],
        "explorers": [m["name"] for m in theirs],
        **{"symmetric": list(base.symmetric), "synthesizers": list(base.synthesizers)},
        "efficient": [theirs[0]["name"], *base.efficient[1:]],
        **{"n_paths": n_paths, "n_sets": fewest // n_paths, "n_problems": None, "studies": {}},
        # not beside the new file
        **{key: str(ROOT / getattr(base, key)) for key in ("prices", "store", "figures")},
    }
    path.write_text(f"# Made by a2r import paths over {profile}.\n" + yaml.safe_dump(raw, sort_keys=False))
    return load_profile(str(path))

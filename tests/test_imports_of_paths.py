"""Generations of others as pools: small files by hand in the layouts that the projects write, good rows and bad."""

import json
import zipfile
from pathlib import Path

import pandas as pd
import pytest
from fakes import FakeEngine, outcomes, write_profile

from a2r import UserError, explore, grade, load_problems, load_profile, read_prices, synthesize
from a2r.cli import main
from a2r.lab import imports
from a2r.store import Store

SUM = "What is {} + 1?"


def thought(answer: int) -> str:
    return f"<think>\nadd\n</think>\n\n\\boxed{{{answer}}}"


def lines(path: Path, *rows) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


PATHS = [(problem, i) for problem in (1, 2) for i in range(4)]
TEXTS = {(problem, i): thought(problem + 1 + (i == 2)) for problem, i in PATHS}


def matharena_rows(folder: Path) -> list[Path]:
    """As its outputs are published: a row an answer, as parquet."""
    rows = [
        {
            **{"problem_idx": str(p), "problem": SUM.format(p), "model_name": "big/model", "model_config": "big/model"},
            **{"idx_answer": i, "all_messages": [{"role": "user", "content": "?"}], "user_message": "?"},
            **{"answer": TEXTS[p, i], "input_tokens": 50, "output_tokens": 100 + i, "cost": 0.1},
            **{"gold_answer": str(p + 1), "parsed_answer": "?", "correct": i != 2},
        }
        for p, i in PATHS
    ]
    pd.DataFrame(rows).to_parquet(folder / "outputs.parquet")
    return [folder / "outputs.parquet"]


def matharena_runs(folder: Path) -> list[Path]:
    """As its runner leaves them: a file a problem, all answers in it."""
    files = [folder / f"{p}.json" for p in (1, 2)]
    costs = [{"cost": 0.1, "input_tokens": 50, "output_tokens": 100 + i} for i in range(4)]
    for p, file in enumerate(files, 1):
        asked, said = (
            {"role": "user", "content": "?"},
            [{"role": "assistant", "content": TEXTS[p, i]} for i in range(4)],
        )
        run = {"idx": p, "problem": SUM.format(p), "gold_answer": str(p + 1), "answers": ["?"] * 4}
        run |= {"correct": [True] * 4, "messages": [[asked, answer] for answer in said], "detailed_costs": costs}
        file.write_text(json.dumps(run))
    return files


def nemo_skills(folder: Path) -> list[Path]:
    """A file a random seed, a line a problem."""
    rows = {
        (p, i): {
            **{"problem": SUM.format(p), "expected_answer": str(p + 1), "generation": TEXTS[p, i]},
            **{"num_generated_tokens": 100 + i, "predicted_answer": "?", "generation_time": 1.5},
        }
        for p, i in PATHS
    }
    return [lines(folder / f"output-rs{i}.jsonl", rows[1, i], rows[2, i]) for i in range(4)]


def lighteval(folder: Path) -> list[Path]:
    """Its details: a row a problem with the doc and all that the model answered."""
    tokens = {"input_tokens": list(range(50)), "output_tokens": [list(range(100 + i)) for i in range(4)]}
    rows = [
        {
            "doc": {"query": SUM.format(p), "choices": [str(p + 1)], "gold_index": [0], "id": str(p), "task_name": "t"},
            "metric": {"pass@1": 0.75},
            "model_response": {"text": [TEXTS[p, i] for i in range(4)], **tokens},
        }
        for p in (1, 2)
    ]
    pd.DataFrame(rows).to_parquet(folder / "details.parquet")
    return [folder / "details.parquet"]


def inspect_log() -> dict:
    def choice(answer: int) -> dict:
        said = [{"type": "reasoning", "reasoning": "add"}, {"type": "text", "text": f"\\boxed{{{answer}}}"}]
        return {"message": {"role": "assistant", "content": said}, "stop_reason": "stop"}

    samples = [
        {
            **{"id": p, "epoch": i + 1, "input": SUM.format(p), "target": str(p + 1), "scores": {}},
            "output": {
                **{"model": "big/model", "choices": [choice(p + 1 + (i == 2))], "time": 1.5},
                "usage": {"input_tokens": 50, "output_tokens": 100 + i, "total_tokens": 150 + i},
            },
        }
        for i in range(4)
        for p in (1, 2)
    ]
    return {"version": 2, "status": "success", "eval": {"model": "big/model", "task": "sums"}, "samples": samples}


def inspect_json(folder: Path) -> list[Path]:
    (folder / "log.json").write_text(json.dumps(inspect_log()))
    return [folder / "log.json"]


def inspect_eval(folder: Path) -> list[Path]:
    """The same as .eval, which is a zip of a header and a file a sample."""
    log = inspect_log()
    with zipfile.ZipFile(folder / "log.eval", "w") as file:
        file.writestr("header.json", json.dumps({k: v for k, v in log.items() if k != "samples"}))
        for sample in log["samples"]:
            file.writestr(f"samples/{sample['id']}_epoch_{sample['epoch']}.json", json.dumps(sample))
    return [folder / "log.eval"]


def jsonl(folder: Path) -> list[Path]:
    rows = (
        {
            **{"question": SUM.format(p), "answer": p + 1, "text": TEXTS[p, i], "model": "big/model"},
            **{"prompt_tokens": 50, "completion_tokens": 100 + i, "seconds": 1.5, "finish_reason": "stop"},
        }
        for p, i in PATHS
    )
    return [lines(folder / "mine.jsonl", *rows)]


LAYOUTS = [
    (matharena_rows, "matharena", {"prompt_tokens", "completion_tokens"}),
    (matharena_runs, "matharena", {"prompt_tokens", "completion_tokens"}),
    (nemo_skills, "nemo-skills", {"completion_tokens", "seconds"}),
    (lighteval, "lighteval", {"prompt_tokens", "completion_tokens"}),
    (inspect_json, "inspect", {"prompt_tokens", "completion_tokens", "seconds"}),
    (inspect_eval, "inspect", {"prompt_tokens", "completion_tokens", "seconds"}),
    (jsonl, "jsonl", {"prompt_tokens", "completion_tokens", "seconds"}),
]


@pytest.fixture
def base(tmp_path, monkeypatch) -> str:
    """The path of a small profile; what is imported goes beside it."""
    monkeypatch.setattr(imports, "FOLDER", tmp_path / "imported")
    return str(write_profile(tmp_path))


@pytest.mark.parametrize(("write", "format", "said"), LAYOUTS, ids=lambda x: getattr(x, "__name__", None))
def test_every_layout_becomes_the_same_pool(base, tmp_path, use, write, format, said):
    engine = use()
    made = imports.bring(write(tmp_path), format, base, "theirs", "big/model")
    assert (made.paths, made.problems, made.bad) == ({"big/model": 8}, 2, [])
    lab = load_profile(str(made.profile))
    problems = load_problems(lab)
    assert (lab.n_paths, lab.n_sets, lab.explorers) == (4, 1, ("big/model",))
    pool = grade(explore(lab, "big/model", problems, 4), problems)
    assert engine.opened == 0, "nothing is generated"
    assert pool.text.tolist() == [thought(p + 1 + (i == 2)) for p in (1, 2) for i in range(4)]
    assert pool.correct.tolist() == [True, True, False, True] * 2 and set(pool.engine) == {"imported"}
    for name, told in {"prompt_tokens": 50, "seconds": 1.5, "completion_tokens": [100, 101, 102, 103] * 2}.items():
        assert pool[name].isna().all() if name not in said else (pool[name] == told).all(), "what lacks is null"
    assert pool.cached_tokens.isna().all() and pool.logprob_mean.isna().all()
    syntheses = grade(synthesize(lab, "b", problems, pool), problems)
    assert len(engine.asked) == 2 and all("\\boxed{" in r.messages[0]["content"] for r in engine.requests)
    table = outcomes(problems, pool, read_prices(lab.prices), syntheses, 4, 1)
    assert table[table.method == "Cons@4"].correct.tolist() == [1, 1] and table.cost.isna().all(), "no price is made up"


def test_bringing_again_adds_nothing_and_the_store_stays_sound(base, tmp_path, use):
    use()
    lab = load_profile(str(imports.bring(jsonl(tmp_path), "jsonl", base, "theirs").profile))
    before = len(Store(lab.store_path).read())
    imports.bring(jsonl(tmp_path), "jsonl", base, "theirs")
    with Store(lab.store_path) as store:
        store.compact()
        assert len(store.read()) == before == 8
    with pytest.raises(UserError, match=r"were imported, and 2 more are wanted of it than there are"):
        explore(lab, "big/model", load_problems(lab), 5)


def test_bad_rows_are_named_and_nothing_else_is_lost(base, tmp_path, capsys):
    good = {"question": "What is 1 + 1?", "answer": "2", "text": thought(2), "model": "m"}
    unanswered, nobody = ({k: v for k, v in good.items() if k != lack} for lack in ("answer", "model"))
    bad = {
        "{broken": "it is no JSON",
        json.dumps({**good, "text": None}): "its text is 'None' and no text",
        json.dumps(unanswered): "it has no 'answer'",
        json.dumps({**good, "answer": "3"}): "has the answer '2' in an earlier row, and here '3'",
        json.dumps({**good, "answer": ["2"]}): "stands where a number or a text should",
        "[1, 2]": "it is no JSON object",
        json.dumps(nobody): "no model is named; give one with --model",
        json.dumps({**good, "question": " "}): "its question is empty",
        json.dumps({**good, "text": "NO UTF-8"}): "codec can't decode byte 0xe9",
        json.dumps({**good, "completion_tokens": "20"}): "its completion_tokens is '20' and no whole number of 0 or",
        json.dumps({**good, "prompt_tokens": -5}): "its prompt_tokens is '-5' and no whole number of 0 or more",
        json.dumps({**good, "completion_tokens": 20.5}): "its completion_tokens is '20.5' and no whole number",
        json.dumps({**good, "seconds": True}): "its seconds is 'True' and no number of 0 or more",
    }
    file = lines(tmp_path / "some.jsonl", good, *bad, good)
    file.write_bytes(file.read_bytes().replace(b"NO UTF-8", "\u00e9".encode("latin1")))
    assert main(["import", "paths", str(file), "--format", "jsonl", "--profile", base, "--as", "theirs"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("2 paths of m; 1 problems; profile ")
    for number, (line, reason) in enumerate(zip(err.splitlines(), bad.values(), strict=True), 2):
        assert line.split(":")[1].strip() == f"some.jsonl line {number}" and reason in line


def test_models_with_different_problems_share_those_that_all_have(base, tmp_path):
    rows = [{"question": SUM.format(p), "answer": p + 1, "text": TEXTS[p, 0], "model": m} for m in "xa" for p in (1, 2)]
    made = imports.bring([lines(tmp_path / "f.jsonl", *rows[:3])], "jsonl", base, "theirs")
    assert made.problems == 1 and made.paths == {"a (imported)": 1, "x": 2}, "the profile has an 'a' of its own"
    assert "a (imported) has no path for 1 of 2 problems" in made.bad[0]
    with pytest.raises(UserError, match="no problem has paths of all of"):
        imports.bring([lines(tmp_path / "g.jsonl", rows[0], rows[3])], "jsonl", base, "theirs")


def test_two_questions_of_one_id_are_two_problems(base, tmp_path, use):
    use(FakeEngine())
    about = {"model": "x", "problem_id": 7}
    rows = [{"question": SUM.format(p), "answer": p + 1, "text": TEXTS[p, 0], **about} for p in (1, 2)]
    made = imports.bring([lines(tmp_path / "f.jsonl", *rows)], "jsonl", base, "theirs")
    lab = load_profile(str(made.profile))
    problems = load_problems(lab)
    assert made.problems == 2 and "numbered anew" in made.bad[0]
    assert grade(explore(lab, "x", problems, 1), problems).correct.all()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": "csv"}, "there is no format 'csv'; choose matharena, nemo-skills"),
        ({"name": "nano"}, "'nano' is a profile that the repository has"),
        ({"name": "a/b"}, "'a/b' is no name for a profile"),
        ({"files": [Path("nothing.jsonl")]}, "nothing.jsonl cannot be read"),
        ({"files": [Path("README.md")]}, "README.md is no .jsonl, .parquet, .json or .eval file"),
        ({"format": "nemo-skills"}, r"no path in the format nemo-skills \(mine.jsonl line 1: it has no 'problem'\)"),
        ({"profile": "nowhere"}, "there is no profile 'nowhere'"),
    ],
)
def test_what_cannot_be_brought_is_one_sentence(base, tmp_path, change, said):
    given = {"files": jsonl(tmp_path), "format": "jsonl", "profile": base, "name": "theirs", **change}
    with pytest.raises(UserError, match=said):
        imports.bring(**given)
    assert not (tmp_path / "imported").exists()

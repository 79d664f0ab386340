"""What comes in: the same problems from any format, and one clear sentence for what is wrong with them."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from fakes import small_profile

from a2r import UserError, load_problems, load_profile
from a2r.answers import canonical
from a2r.problems import as_text, content, dial_of, made_tests, read, with_tests
from a2r.profiles import Benchmark

ROWS = [
    {"problem_id": "001", "question": "How many, in “all”?\nCount, then say.", "answer": "033", "level": 1},
    {"problem_id": "002", "question": "None, null or NA?", "answer": "NA", "level": 2},
    {"problem_id": "003", "question": "  π ≈ 22/7, so {x} is?", "answer": r"\frac{1}{2}", "level": 2},
]


def write(folder, problems: list[dict], suffix: str, **options) -> Benchmark:
    path = folder / f"problems{suffix}"
    frame = pd.DataFrame(problems)
    if suffix == ".csv":
        frame.to_csv(path, index=False)
    elif suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in problems))
    else:
        frame.to_parquet(path)
    return Benchmark("set", str(path), **options)


def refused(benchmark: Benchmark) -> str:
    with pytest.raises(UserError) as error:
        read(benchmark)
    sentence = str(error.value)
    assert sentence.startswith(f"benchmark 'set' ({benchmark.path}) ")
    assert "\n" not in sentence and not sentence.endswith("..")
    return sentence.split(") ", 1)[1]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_any_format_gives_the_same_frame(tmp_path, suffix):
    frame = read(write(tmp_path, ROWS, suffix))
    assert frame.to_dict("records") == [{"benchmark": "set", **row} for row in ROWS]
    assert list(frame.columns) == ["benchmark", "problem_id", "question", "answer", "level"]
    pd.testing.assert_frame_equal(frame, read(write(tmp_path, ROWS, ".jsonl")))


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_columns_are_mapped_and_ids_made(tmp_path, suffix):
    rows = [
        {"problem": "1 + 1?", "solution": "2", "answer": "at length"},
        {"problem": "1 + 2?", "solution": "3", "answer": "more"},
    ]
    frame = read(write(tmp_path, rows, suffix, columns={"question": "problem", "answer": "solution"}))
    assert frame.to_dict("records") == [
        {"benchmark": "set", "problem_id": "set-0", "question": "1 + 1?", "answer": "2"},
        {"benchmark": "set", "problem_id": "set-1", "question": "1 + 2?", "answer": "3"},
    ]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_leading_zeros_survive(tmp_path, suffix):
    rows = [{"id": "007", "problem": "?", "key": "033"}, {"id": "008", "problem": "?", "key": "100"}]
    mapped = {"problem_id": "id", "question": "problem", "answer": "key"}
    frame = read(write(tmp_path, rows, suffix, columns=mapped, integer_answers=True))
    assert frame.problem_id.tolist() == ["007", "008"] and frame.answer.tolist() == ["033", "100"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *[(33.0, "33"), (33, "33"), (0.5, "0.5"), ("033", "033"), (-7.0, "-7"), (True, "True")],
        *[(None, ""), (float("nan"), ""), (pd.NA, "")],
    ],
)
def test_cells_as_text(value, text):
    assert as_text(value) == text


@pytest.mark.parametrize("dtype", ["float64", "float32", "int64", "Int64", "object"])
def test_a_column_of_numbers_is_read_as_integers(tmp_path, dtype):
    path = tmp_path / "p.parquet"
    pd.DataFrame({"question": ["a", "b"], "answer": pd.Series([33, 204], dtype=dtype)}).to_parquet(path)
    assert read(Benchmark("set", str(path), integer_answers=True)).answer.tolist() == ["33", "204"]


@pytest.mark.parametrize("column", ["question", "answer"])
def test_a_missing_column_is_named_with_those_there_are(tmp_path, column):
    rows = [{k: v for k, v in row.items() if k != column} for row in ROWS]
    there = ", ".join(rows[0])
    sentence = f"has no column '{column}'; its columns are {there}: map them under 'columns'."
    assert refused(write(tmp_path, rows, ".jsonl")) == sentence


@pytest.mark.parametrize(("suffix", "content"), [(".jsonl", ""), (".csv", ""), (".csv", "question,answer\n")])
def test_an_empty_benchmark(tmp_path, suffix, content):
    path = tmp_path / f"problems{suffix}"
    path.write_text(content)
    assert refused(Benchmark("set", str(path))) == "is empty; give a file with at least one problem."


def test_an_empty_parquet_file(tmp_path):
    path = tmp_path / "p.parquet"
    pd.DataFrame(ROWS)[:0].to_parquet(path)
    assert "is empty" in refused(Benchmark("set", str(path)))


def test_what_is_wrong_with_a_row_is_said_with_its_id(tmp_path):
    sentence = "has the problem id '001' more than once; make the ids unique."
    assert refused(write(tmp_path, [*ROWS, {**ROWS[0], "question": "other"}], ".csv")) == sentence
    for column in ("question", "answer"):
        sentence = f"has no {column} for problem '002'; fill it in or drop the row."
        for nothing in ("", " \n", None):
            rows = [ROWS[0], {**ROWS[1], column: nothing}]
            assert refused(write(tmp_path, rows, ".jsonl")) == sentence


def test_integers_where_they_are_promised(tmp_path):
    said = "the answer 'NA' for problem '002', which is no integer; correct it, or set integer_answers to false."
    assert refused(write(tmp_path, ROWS, ".jsonl", integer_answers=True)) == f"has {said}"
    fine = [{"question": "?", "answer": a} for a in ("033", "-4", "1,000", "12.0", "$7$")]
    assert len(read(write(tmp_path, fine, ".jsonl", integer_answers=True))) == 5


def test_the_promised_number_of_rows(tmp_path):
    assert "has 3 rows instead of 30; check the revision" in refused(write(tmp_path, ROWS, ".jsonl", rows=30))


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_files_that_are_something_else(tmp_path, suffix):
    path = tmp_path / f"p{suffix}"
    odd = {".jsonl": b'{"question": "cut off', ".csv": b'a,b\n1,2,3\n"\xff', ".parquet": b"PAR1 no more"}
    path.write_bytes(odd[suffix])
    assert re.fullmatch(rf"cannot be read \(.+\); give a whole {suffix} file\.", refused(Benchmark("set", str(path))))


@pytest.mark.parametrize("name", ["missing.jsonl", "missing.csv", "missing.parquet"])
def test_files_that_are_not_there(tmp_path, name):
    path = tmp_path / name
    assert f"is not there: looked for it beside the profile and at {path}; correct" in refused(
        Benchmark("set", str(path))
    )


def test_files_of_another_kind(tmp_path):
    (tmp_path / "there.txt").write_text("text")
    said = refused(Benchmark("set", str(tmp_path / "there.txt")))
    assert said == "is no .parquet, .jsonl or .csv file; give the path of one."


def test_a_column_that_the_file_lacks_is_named_with_those_that_it_has(tmp_path):
    pd.DataFrame({"problem": ["?"], "solution": ["1"]}).to_csv(tmp_path / "p.csv", index=False)
    columns = {"question": "problm", "answer": "solution"}
    assert refused(Benchmark("set", str(tmp_path / "p.csv"), columns=columns)) == (
        "has no column 'problm' (did you mean 'problem'?), which the profile gives as its question; "
        "its columns are problem, solution."
    )


@pytest.mark.parametrize("name", ["nobody/nothing", "nothing-at-all", "data/problems/none.json"])
def test_offline_a_hub_data_set_is_refused_in_one_sentence(name):
    sentence = refused(Benchmark("set", name, revision="0123abc"))
    assert "is neither a local file nor could it be had from the hub" in sentence
    assert "put its rows as data/problems/set.parquet (or .jsonl, .csv), then give that file" in sentence


def test_a_hub_data_set_is_read_at_its_revision(monkeypatch):
    import datasets

    def load_dataset(path, revision, split):
        assert (path, revision, split) == ("some/set", "0123abc", "test")
        return datasets.Dataset.from_list(ROWS)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    frame = read(Benchmark("set", "some/set", revision="0123abc", split="test"))
    assert frame.drop(columns="benchmark").to_dict("records") == ROWS


def hub_folder(folder: Path, rows: list[dict], kind: str) -> Path:
    """A data set as the hub lays one out: a card that says where the splits are, and data files."""
    (folder / "data").mkdir(parents=True)
    file = folder / "data" / f"test-00000-of-00001.{kind}"
    if kind == "parquet":
        pd.DataFrame(rows).to_parquet(file)
    else:
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    configs = f"configs:\n- config_name: default\n  data_files:\n  - split: test\n    path: data/test-*.{kind}\n"
    (folder / "README.md").write_text(f"---\n{configs}---\n# A data set\n")
    return folder


AIME = {  # each as it stands on the hub: its columns and kinds of values
    "aime24": [
        {"id": 60 + i, "problem": f"P{i}", "solution": "S", "answer": f"{i:03d}", "url": "u", "year": "2024"}
        for i in range(30)
    ],
    "aime25": [{"id": str(i), "problem": f"P{i}", "answer": str(i)} for i in range(30)],
    "beyondaime": [{"problem": f"P{i}", "answer": i} for i in range(100)],
}


@pytest.mark.parametrize("name", AIME)
@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_the_benchmarks_of_the_paper_as_the_hub_lays_them_out(tmp_path, name, kind, monkeypatch):
    """The real `datasets` code on local files of the hub's layout, with the profile's own entry but for the path and
    the content's hash."""
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    (entry,) = (b for b in load_profile("paper").benchmarks if b.name == name)
    entry = replace(entry, path=str(hub_folder(tmp_path / name, AIME[name], kind)), split="test", sha256=None)
    frame = read(entry)
    assert frame.question.tolist() == [f"P{i}" for i in range(entry.rows)] and frame.problem_id.is_unique
    assert [canonical(a) for a in frame.answer] == [str(i) for i in range(entry.rows)]
    with pytest.raises(UserError, match=rf"has {entry.rows} rows instead of {entry.rows + 1}"):
        read(replace(entry, rows=entry.rows + 1))
    with pytest.raises(UserError, match="could it be had from the hub"):
        read(replace(entry, split="no-such-split"))


def test_another_copy_of_a_benchmark_is_told_by_its_content(tmp_path):
    rows = [{"problem_id": str(i), "question": f"Q {i}", "answer": str(i)} for i in range(3)]
    same = [{"problem_id": f"x{i}", "question": f"Q  {i}", "answer": f"0{i}"} for i in (2, 0, 1)]
    wrong = [*rows[:2], {**rows[2], "answer": "384"}]
    sha256 = content(read(write(tmp_path, rows, ".jsonl")))
    (tmp_path / "b").mkdir()
    copy = replace(write(tmp_path / "b", same, ".csv"), sha256=sha256)
    assert len(read(copy)) == 3, "form, ids, order and zeros do not matter"
    said = refused(replace(write(tmp_path / "b", wrong, ".parquet"), sha256=sha256))
    assert "has other questions or answers than the profile names" in said


@pytest.mark.parametrize("answer", ["nan", "inf", "-Infinity", "None", " NULL "])
def test_an_answer_that_is_no_answer_is_refused(tmp_path, answer):
    rows = [{"problem_id": "p", "question": "?", "answer": answer}]
    assert f"has '{answer}' as the answer of problem 'p'" in refused(write(tmp_path, rows, ".jsonl"))


@pytest.mark.parametrize(
    ("wanted", "rows"), [(1, [0]), (2, [0, 5]), (3, [0, 3, 6]), (4, [0, 2, 5, 7]), (10, range(10)), (99, range(10))]
)
def test_fewer_problems_are_evenly_spaced(tmp_path, wanted, rows):
    ten = [{"problem_id": str(i), "question": "?", "answer": str(i)} for i in range(10)]
    lab = small_profile(tmp_path, benchmarks=[{"name": "ten", "path": write(tmp_path, ten, ".jsonl").path}])
    assert load_problems(lab.with_(n_problems=wanted)).answer.tolist() == [str(i) for i in rows]
    assert len(load_problems(lab)) == 10


def test_every_benchmark_gives_as_many(tmp_path):
    write(tmp_path, [{"problem_id": f"x{i}", "question": "?", "answer": str(i)} for i in range(5)], ".csv")
    both = [{"name": n, "path": str(tmp_path / p)} for n, p in (("sums", "sums.jsonl"), ("set", "problems.csv"))]
    problems = load_problems(small_profile(tmp_path, benchmarks=both, n_problems=2))
    assert problems.benchmark.tolist() == ["sums"] * 2 + ["set"] * 2 and problems.index.tolist() == [0, 1, 2, 3]


def test_a_benchmark_may_say_how_many_and_a_profile_fewer(tmp_path):
    write(tmp_path, [{"problem_id": f"x{i}", "question": "?", "answer": str(i)} for i in range(6)], ".csv")
    both = [{"name": n, "path": str(tmp_path / p)} for n, p in (("sums", "sums.jsonl"), ("set", "problems.csv"))]
    both[1]["n_problems"] = 3  # the other has three, and gives all
    lab = small_profile(tmp_path, benchmarks=both)
    whole = load_problems(lab)
    assert whole[whole.benchmark == "set"].answer.tolist() == ["0", "2", "4"] and sum(whole.benchmark == "sums") == 3
    assert load_problems(lab.with_(n_problems=2)).benchmark.tolist() == ["sums"] * 2 + ["set"] * 2


def test_ids_are_unique_across_benchmarks(tmp_path):
    write(tmp_path, [{"problem_id": "sum-1", "question": "another?", "answer": "1"}], ".csv")
    both = [{"name": n, "path": str(tmp_path / p)} for n, p in (("sums", "sums.jsonl"), ("set", "problems.csv"))]
    lab = small_profile(tmp_path, benchmarks=both)
    said = "benchmark 'set' has the problem id 'sum-1' of another benchmark; rename its ids"
    with pytest.raises(UserError, match=said):
        load_problems(lab)


def test_a_profile_without_benchmarks(tmp_path):
    with pytest.raises(UserError, match="profile 'tiny' names no benchmark; add one under 'benchmarks'"):
        load_problems(small_profile(tmp_path, benchmarks=[]))


def test_the_dial_of_a_question_is_read_and_turned():
    question = (
        "Parcels weigh: (a) 202 (b) 320. Two of them weigh 522 together. You may test 4. How heavy is the heavier one?"
    )
    assert dial_of(question) == 4 and dial_of("What is 2 + 2?") is None
    assert with_tests(question, 8) == question.replace("test 4", "test 8")
    assert made_tests("<think>\na+b=202+320=522:522 yes\n</think>\n\nIt is a+b: 202, 320.\n\\boxed{320}") == 1
    with pytest.raises(UserError, match="has no such dial"):
        with_tests("What is 2 + 2?", 3)

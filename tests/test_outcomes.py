"""The third table against numbers worked out by hand."""

import math
import re
from dataclasses import replace

import pandas as pd
import pytest
from fakes import outcomes

from a2r import UserError, collect, difficulty, grade, read_prices
from a2r.outcomes import STATES, matched_votes, rates
from a2r.prices import flops, price, say_unpriced
from a2r.results import figures, tables
from a2r.results.stats import Interval
from a2r.studies import cost, symmetric

PROBLEMS = pd.DataFrame(
    {
        "benchmark": ["one", "one", "two"],
        "problem_id": ["p", "q", "r"],
        "question": ["?", "?", "?"],
        "answer": ["5", "07", r"\frac{1}{2}"],
        "level": [2, 3, 4],
    }
)
# The answers of 8 paths of each problem, in two sets of 4; "" is a path without an answer, "!" one that failed.
POOL = {
    "p": ["5", "5", "6", "6", "005", "4", "", "!"],
    "q": ["1", "2", "3", "", "7", "7", "7", "7.0"],
    "r": ["0.5", "2", "2", "3", "0.5", r"\frac{2}{4}", "2", "2"],
}
# One synthesis of each set, two where a pair stands.
SYNTHESES = {"p": ["5", "6"], "q": [("7", "1"), "7"], "r": ["0.5", ""]}


def sample(model: str, problem: str, number: int, index: int, answer: str, explorer: str = "") -> dict:
    """A sample whose tokens and seconds can be told apart: 100 prompt tokens (40 cached), 10 × (index + 1) completion
    tokens."""
    said = f"<think>\nhm\n</think>\n\nwork of {index}: \\boxed{{{answer}}}"
    text, reason = {"": ("<think>\nnever closed", "length"), "!": ("", "error")}.get(answer, (said, "stop"))
    return {
        **{"model": model, "benchmark": PROBLEMS.set_index("problem_id").benchmark[problem], "problem_id": problem},
        **{"set": number, "index": index, "explorer": explorer, "text": text, "finish_reason": reason},
        **{"error": "broken" * (answer == "!"), "prompt_tokens": 100, "cached_tokens": 40},
        **{"completion_tokens": 10 * (index + 1), "seconds": float(index + 1)},
    }


@pytest.fixture
def pool() -> pd.DataFrame:
    rows = [sample("small", p, -1, i, answer) for p, answers in POOL.items() for i, answer in enumerate(answers)]
    return grade(pd.DataFrame(rows), PROBLEMS)


@pytest.fixture
def syntheses() -> pd.DataFrame:
    rows = []
    for problem, sets in SYNTHESES.items():
        for number, answers in enumerate(sets):
            for i, answer in enumerate([answers] if isinstance(answers, str) else answers):
                rows.append(sample("large", problem, number, i, answer, "small"))
    return grade(pd.DataFrame(rows), PROBLEMS)


@pytest.fixture
def prices(tmp_path) -> pd.DataFrame:
    return read_prices(
        price_table(tmp_path, "small,1,0.5,2,USD,by hand,2026-01-01", "large,10,,20,USD,by hand,2026-01-01")
    )


def price_table(folder, *rows: str):
    path = folder / "prices.csv"
    path.write_text("\n".join(["# a remark", "model,input,cached_input,output,currency,source,date", *rows]) + "\n")
    return path


@pytest.fixture
def table(pool, syntheses, prices) -> pd.DataFrame:
    return outcomes(PROBLEMS, pool, prices, syntheses, n_paths=4, n_sets=2)


def of(table: pd.DataFrame, method: str, column: str = "correct") -> dict:
    mine = table[table.method == method]
    return dict(zip(zip(mine.problem_id, mine["set"], strict=True), mine[column], strict=True))


def sets(**pairs) -> dict:
    """Values of both sets by problem and set."""
    return {(problem, number): value for problem, pair in pairs.items() for number, value in enumerate(pair)}


def test_grades(pool):
    assert pool.answer[pool.problem_id == "p"].tolist() == ["5", "5", "6", "6", "005", "4", None, None]
    assert pool.correct[pool.problem_id == "p"].tolist() == [True, True, False, False, True, False, False, False]
    assert pool.correct.dtype == bool
    assert rates(pool) == {"truncated": 2 / 24, "failed": 1 / 24, "no_answer": 3 / 24}


def test_one_row_a_problem_set_and_method(table):
    assert not table.duplicated(["problem_id", "set", "method"]).any() and len(table) == 3 * 2 * 4
    assert not table.isna().any(axis=None)
    assert set(table.explorer) == {"small"}
    synthesizers = {"Pass@1": [""], "Cons@4": [""], "Pass@4": [""], "A2R@4": ["large"]}
    assert table.groupby("method").synthesizer.unique().map(list).to_dict() == synthesizers
    assert dict(zip(table.problem_id, table.benchmark, strict=True)) == {"p": "one", "q": "one", "r": "two"}


def test_pass_at_1_is_the_mean_of_the_set(table):
    assert of(table, "Pass@1") == sets(p=(0.5, 0.25), q=(0, 1), r=(0.25, 0.5))


def test_cons_scores_ties_by_the_mean(table):
    """p: 5 5 6 6; 5 4 and two that do not vote. r: 2 wins; 0.5 and 2/4 are one answer and tie with 2 2."""
    assert of(table, "Cons@4") == sets(p=(0.5, 0.5), q=(0, 1), r=(0, 0.5))


def test_pass_at_4_is_unbiased_over_the_whole_pool(table):
    by_hand = {"p": 1 - 5 / 70, "q": 1 - 1 / 70, "r": 1 - 5 / 70}  # 3, 4, 3 of 8 right: 1 - C(8-c, 4) / C(8, 4)
    assert of(table, "Pass@4") == pytest.approx({(p, s): value for p, value in by_hand.items() for s in (0, 1)})


def test_a2r_is_the_mean_of_the_syntheses(table):
    assert of(table, "A2R@4") == {("p", 0): 1, ("p", 1): 0, ("q", 0): 0.5, ("q", 1): 1, ("r", 0): 1, ("r", 1): 0}


def test_states(table):
    states = sets(p=("tie", "tie"), q=("none", "all"), r=("minority", "tie"))
    for method in ("Pass@1", "Cons@4", "Pass@4", "A2R@4"):
        assert of(table, method, "state") == states
    assert set(states.values()) <= set(STATES)
    assert of(table, "Cons@4", "right") == sets(p=(2, 1), q=(0, 4), r=(1, 2))


def test_cost_counts_every_token(table):
    """small: 100 fresh × 1 the first prompt of a set and of a path by itself, else 60 fresh × 1 + 40 cached × 0.5 = 80;
    2 a completion token; large: 100 × 10 (no cached price), 20 a token."""
    first, second = 100 + 3 * 80 + 2 * (10 + 20 + 30 + 40), 100 + 3 * 80 + 2 * (50 + 60 + 70 + 80)
    for method, more, share in (("Cons@4", 0, 1e6), ("Pass@4", 0, 1e6), ("Pass@1", 3 * 20, 4e6)):
        both = ((first + more) / share, (second + more) / share)
        assert of(table, method, "cost") == pytest.approx(sets(p=both, q=both, r=both))
    a2r = of(table, "A2R@4", "cost")
    assert a2r["p", 0] == pytest.approx((first + 1000 + 200) / 1e6)
    assert a2r["p", 1] == pytest.approx((second + 1000 + 200) / 1e6)
    assert a2r["q", 0] == pytest.approx((first + 1000 + 20 * 15) / 1e6), "the mean of two: a user pays for one"


def test_tokens_by_role(table):
    for method, prompt, completion in (("Cons@4", 400, 260), ("Pass@1", 100, 65)):
        assert of(table, method, "explorer_prompt")["p", 0] == prompt
        assert of(table, method, "explorer_completion")["p", 1] == completion
    assert of(table, "A2R@4", "explorer_completion") == of(table, "Cons@4", "explorer_completion")
    assert of(table, "A2R@4", "synthesizer_prompt")["q", 0] == 100
    assert of(table, "A2R@4", "synthesizer_completion")["q", 0] == 15
    assert set(of(table, "Cons@4", "synthesizer_prompt").values()) == {0}


def test_seconds_are_the_critical_path(table):
    assert of(table, "Cons@4", "seconds")["p", 0] == 4 and of(table, "Cons@4", "seconds")["p", 1] == 8
    assert of(table, "A2R@4", "seconds")["p", 0] == 4 + 1 and of(table, "A2R@4", "seconds")["q", 0] == 4 + 1.5
    assert of(table, "Pass@1", "seconds")["p", 1] == 6.5


def test_the_order_of_rows_does_not_matter(pool, syntheses, prices, table):
    shuffled = outcomes(PROBLEMS, pool, prices, syntheses.sample(frac=1, random_state=3), 4, 2)
    pd.testing.assert_frame_equal(shuffled, table)


def test_without_syntheses_there_are_the_other_methods(pool, prices, table):
    alone = outcomes(PROBLEMS, pool, prices, n_paths=4, n_sets=2)
    pd.testing.assert_frame_equal(alone, table[table.method != "A2R@4"])


def test_a_missing_synthesis_is_no_silent_gap(pool, syntheses, prices):
    lacking = syntheses[(syntheses.problem_id != "q") | (syntheses["set"] != 1)]
    with pytest.raises(UserError, match="problem 'q' has no synthesis of set 1; synthesize all 2 sets of 4 paths"):
        outcomes(PROBLEMS, pool, prices, lacking, 4, 2)


def test_collect_has_the_explorer_s_own_methods_once(lab, pool, syntheses, prices, table):
    other = syntheses.assign(model="small")
    both = collect(PROBLEMS, {"small": pool}, {("small", "large"): syntheses, ("small", "small"): other}, prices, lab)
    rows = [("A2R@4", "large"), ("A2R@4", "small"), ("Cons@4", ""), ("Pass@1", ""), ("Pass@4", "")]
    assert both.groupby(["method", "synthesizer"]).size().to_dict() == dict.fromkeys(rows, 6)
    pd.testing.assert_frame_equal(both[both.synthesizer != "small"].drop(columns="flops"), table)
    alone = collect(PROBLEMS, {"small": pool}, {}, prices, lab)
    assert set(alone.method) == {"Pass@1", "Cons@4", "Pass@4"}


def test_difficulty(pool):
    assert difficulty(PROBLEMS, {"small": pool}).to_dict() == {"p": 2, "q": 3, "r": 4}
    pool = pool.assign(correct=(pool.problem_id == "q") | ((pool.problem_id == "r") & (pool["index"] < 2)))
    thirds = difficulty(PROBLEMS.drop(columns="level"), {"small": pool})
    assert thirds.to_dict() == {"p": "hard", "q": "easy", "r": "medium"}
    assert thirds.sort_values().tolist() == ["easy", "medium", "hard"], "by difficulty, not by the alphabet"
    both = long(cons=[0, 0, 1], a2r=[1, 0, 1]).assign(problem_id=list("pqr") * 2)
    axes = symmetric.gain_by(both, thirds, "difficulty", 4).axes[0]
    assert [label.get_text().split()[0] for label in axes.get_xticklabels()] == ["easy", "medium", "hard"]


def long(**methods: list[float]) -> pd.DataFrame:
    """An outcomes table with one value a problem for each method."""
    names = {"one": "Pass@1", "cons": "Cons@4", "upper": "Pass@4", "a2r": "A2R@4"}
    rows = [
        {"benchmark": "b", "problem_id": f"p{i}", "explorer": "small", "method": names[m], "correct": value}
        | {"synthesizer": "large" if m == "a2r" else ""}
        for m, values in methods.items()
        for i, value in enumerate(values)
    ]
    return pd.DataFrame(rows)


def test_summary_by_hand():
    table = long(one=[0.5, 0.0] * 20, cons=[0.8, 0.2] * 20, upper=[1.0, 1.0] * 20, a2r=[0.9, 0.5] * 20)
    (row,) = tables.summary(table).to_dict("records")
    assert (row["explorer"], row["synthesizer"], row["n"]) == ("small", "large", 40)
    by_hand = {"Pass@1": 0.25, "Cons@4": 0.5, "Pass@4": 1.0, "A2R@4": 0.7}
    by_hand |= {"gain": 0.2, "relative gain": 0.45 / 0.25, "gap closed": 0.4}
    for column, value in by_hand.items():
        assert row[column].estimate == pytest.approx(value) and row[column].n == 40
        assert row[column].low <= value + 1e-9 and value <= row[column].high + 1e-9
    assert row["gain"].low > 0.15 and row["gain"].high < 0.25 and row["p"] < 0.001 and row["p_holm"] == row["p"]


def test_summary_says_undefined_in_words(tmp_path):
    table = long(one=[0.5, 0.4] * 10, cons=[0.5, 0.4] * 10, upper=[1.0, 0.9] * 10, a2r=[0.6, 0.5] * 10)
    summary = tables.summary(table)
    assert summary["relative gain"].tolist() == ["undefined"] and isinstance(summary["gap closed"][0], Interval)
    assert tables.ratio(pd.Series([0.1, 0.2]), pd.Series([-0.1, 0.1])) == "undefined"
    both = pd.concat([summary, summary.assign(**{"relative gain": [Interval(1.5, 1.2, 1.8, 20)]})], ignore_index=True)
    tables.save(both, tmp_path, "t")
    csv = pd.read_csv(tmp_path / "t.csv", keep_default_na=False)
    assert csv["relative gain"].tolist() == ["undefined", "1.5"] and csv["relative gain_low"].tolist() == ["", "1.2"]
    assert "undefined" in (tmp_path / "t.tex").read_text() and "nan" not in (tmp_path / "t.tex").read_text()


def test_summary_corrects_over_its_rows():
    one = long(one=[0.2] * 12, cons=[0.3, 0.2] * 6, upper=[1.0] * 12, a2r=[0.5, 0.1] * 6)
    two = long(one=[0.2] * 12, cons=[0.3, 0.2] * 6, upper=[1.0] * 12, a2r=[0.6, 0.5] * 6).assign(explorer="other")
    summary = tables.summary(pd.concat([one, two])).set_index("explorer")
    assert summary.p_holm["other"] == pytest.approx(2 * summary.p["other"])
    assert summary.p_holm["small"] == summary.p["small"]


def test_summary_by_benchmark():
    one = long(one=[0.2] * 12, cons=[0.3] * 12, upper=[1.0] * 12, a2r=[0.5] * 12)
    parts = tables.by_benchmark(pd.concat([one, one.assign(benchmark="c", correct=one.correct / 2)]))
    assert parts.benchmark.tolist() == ["b", "c"] and parts.columns[0] == "benchmark"
    assert [cell.estimate for cell in parts["A2R@4"]] == pytest.approx([0.5, 0.25])


def test_saved_tables(tmp_path, table):
    csv, tex = tables.save(tables.spent(table), tmp_path / "new", "what_it_cost")
    read = pd.read_csv(csv, keep_default_na=False).set_index("method")
    assert read.loc["Cons@4", "explorer prompt"] == 400 and read.loc["A2R@4", "synthesizer"] == "large"
    summary = tables.save(tables.summary(table), tmp_path, "accuracy")
    assert pd.read_csv(summary[0])[["A2R@4", "A2R@4_low", "A2R@4_high", "n"]].notna().all(axis=None)
    for latex in (tex.read_text(), summary[1].read_text()):
        begin, top, *_ = latex.splitlines()
        columns = len(re.fullmatch(r"\\begin\{tabular\}\{([lrc]+)\}", begin)[1])
        assert top == r"\toprule" and r"\midrule" in latex and latex.rstrip().endswith("\\bottomrule\n\\end{tabular}")
        body = [line for line in latex.splitlines() if line.endswith(r"\\")]
        assert len(body) > 1 and all(line.count("&") == columns - 1 for line in body)
        assert not re.search(r"(?<!\\)[_%#$]", latex.replace("$-$", "")), "what LaTeX would choke on is escaped"


def test_what_has_no_interval_shows_none():
    nan = float("nan")
    frame = pd.DataFrame({"cost": [Interval(0.5, nan, nan, 1)], "gain": [Interval(nan, nan, nan, 1)], "p": [nan]})
    assert tables.shown(frame).iloc[0].tolist() == ["0.50", "–", ""]
    small = pd.DataFrame({"p": [3e-9, 0.0001], "power": [0.5, 1.0]})
    assert tables.shown(small).to_numpy().tolist() == [["3e-09", "0.5"], ["0.0001", "1"]]


def test_shown_in_points_and_with_intervals():
    intervals = {"A2R@4": [Interval(0.612, 0.5, 0.7, 9)], "gain": [Interval(0.034, -0.01, 0.1, 9)]}
    frame = pd.DataFrame({**intervals, "p": [0.01234], "n": [9]})
    assert tables.shown(frame).iloc[0].tolist() == ["0.61 [0.50, 0.70]", "+3.4 [−1.0, +10.0]", "0.0123", "9"]


def test_reliability(pool, syntheses):
    table = symmetric.reliability({"small": pool}, {("small", "large"): syntheses})
    rows = [["explorer", "small", 24], ["synthesizer", "large", 7]]
    assert table[["role", "model", "samples"]].to_numpy().tolist() == rows
    assert table.no_answer.tolist() == [3 / 24, 1 / 7] and table.truncated.tolist() == [2 / 24, 1 / 7]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (["small,1,,2,USD,x,2026", "small,1,,3,USD,x,2026"], "prices small twice; keep one row"),
        (["small,,,2,USD,x,2026"], "no number under 'input' for small; fill it in"),
        (["small,1,,free,USD,x,2026"], "no number under 'output' for small; fill it in"),
    ],
)
def test_price_tables_that_are_refused(tmp_path, rows, words):
    path = price_table(tmp_path, *rows)
    with pytest.raises(UserError, match=words) as refused:
        read_prices(path)
    assert str(path) in str(refused.value)


def test_price_tables_that_are_not_there(tmp_path, pool):
    said = r"there is no price table .*missing.csv; make one with the columns model, input"
    with pytest.raises(UserError, match=said):
        read_prices(tmp_path / "missing.csv")
    (tmp_path / "prices.csv").write_text("model,input\nsmall,1\n")
    with pytest.raises(UserError, match="has no column 'cached_input'; it needs model, input"):
        read_prices(tmp_path / "prices.csv")


def test_no_price_is_no_reason_to_fail(tmp_path, lab, pool, syntheses, caplog):
    """Costs are blank, everything else is as with one, and one line says so."""
    priced = read_prices(price_table(tmp_path, "small,1,,2,USD,x,2026", "large,1,,2,USD,x,2026"))
    whole = outcomes(PROBLEMS, pool, priced, syntheses, n_paths=4, n_sets=2)
    prices = priced.drop("large")
    say_unpriced.cache_clear()
    table = outcomes(PROBLEMS, pool, prices, syntheses, n_paths=4, n_sets=2)
    outcomes(PROBLEMS, pool, prices, syntheses, n_paths=4, n_sets=2)
    assert caplog.messages == [
        "The price table has no row for large: its costs stay blank. Add one, or set another 'prices'."
    ]
    ours = table.method == "A2R@4"
    assert table.cost[ours].isna().all() and table.cost[~ours].equals(whole.cost[~ours])
    pd.testing.assert_frame_equal(table.drop(columns="cost"), whole.drop(columns="cost"))
    spent = tables.shown(tables.spent(table)).set_index("method")["cost per 1,000"]
    assert spent["A2R@4"] == "" and spent["Cons@4"]
    assert price(pool, prices.drop("small")).isna().all()
    a, b = lab.models
    sized = replace(lab, models=(replace(a, name="small", parameters=1.0), replace(b, name="large", parameters=1.0)))
    points = cost.points(table, sized)
    assert set(points.family) == {"Pass@1", "Cons"} and points.front.any()
    assert len(cost.points(table.assign(cost=float("nan")), sized)) == 0
    cost.cost_front(cost.points(table.assign(cost=float("nan")), sized), "USD")
    blank = cost.efficiency(table, sized, prices)
    assert blank["cost ratio"].map(lambda ratio: math.isnan(ratio.estimate)).all() and not (blank.n == 0).any()
    assert matched_votes(PROBLEMS, pool, prices.drop("small"), 1.0).empty


def test_flops(table, lab):
    a, b = lab.models[0], lab.models[1]
    sized = replace(lab, models=(replace(a, name="small", parameters=1000), replace(b, name="large", parameters=5000)))
    computed = table.assign(flops=flops(table, sized))
    assert of(computed, "Pass@1", "flops")["p", 0] == 2 * 1000 * (100 + 25)
    assert of(computed, "A2R@4", "flops")["p", 0] == 2 * 1000 * (4 * (100 - 40 + 25) + 40) + 2 * 5000 * (100 - 40 + 10)
    unknown = flops(table, replace(sized, models=(replace(a, name="small", parameters=None), sized.models[1])))
    assert unknown.isna().all()


def test_engine_seconds_add_up(table):
    assert of(table, "Cons@4", "engine_seconds")["p", 0] == 1 + 2 + 3 + 4
    assert of(table, "A2R@4", "engine_seconds")["q", 0] == 1 + 2 + 3 + 4 + 1.5


def test_accuracy_by_right_references_is_beside_the_vote_on_the_same_sets():
    table = long(cons=[0.0, 0.25, 0.0, 1.0], a2r=[1.0, 1.0, 0.0, 1.0], one=[0.0] * 4)
    table["right"] = table.problem_id.map({"p0": 0, "p1": 1, "p2": 1, "p3": 4})
    assert tables.by_right_references(table).empty, "small's paths were read by another model"
    symmetric = table.assign(synthesizer=table.synthesizer.replace("large", "small"))
    by_right = tables.by_right_references(pd.concat([symmetric, table[table.method == "A2R@4"].assign(correct=0.5)]))
    rows = [["small", k, n, n] for k, n in ((0, 1), (1, 2), (4, 1))]
    assert by_right[["model", "right references", "sets", "n"]].to_numpy().tolist() == rows
    for column, values in {"A2R@4": [1, 0.5, 1], "Cons@4": [0, 0.125, 1], "A2R − Cons": [1, 0.375, 0]}.items():
        assert [cell.estimate for cell in by_right[column]] == pytest.approx(values)
    figures.style()
    drawn = figures.by_right_references(by_right.assign(sets=100))
    assert list(drawn.axes[0].lines[0].get_ydata()) == pytest.approx([100, 37.5, 0]), "points above the vote"
    assert "100 to 100 sets a point" in drawn.caption and "small's, +38" in drawn.caption

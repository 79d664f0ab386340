"""The report is one page that needs no network, made of whatever studies were run to their end."""

import base64
import json
import re
import shutil
import subprocess

import nbformat
import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from a2r import UserError, cli
from a2r.lab import report, sweeps
from a2r.results import tables
from a2r.results.stats import Interval

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def executed(folder, name: str, title: str, finished: bool = True) -> None:
    outputs = [
        new_output("stream", name="stderr", text="12 sample/s"),
        new_output("stream", name="stdout", text=f"printed by {title}"),
        new_output("display_data", data={"image/png": PIXEL}),
    ]
    made = new_output(
        "display_data", data={"application/vnd.a2r+json": {"tables": ["t.csv"], "figures": []}, "text/plain": "saved"}
    )
    told = new_output("stream", name="stdout", text="told-by-parameters")
    cells = [
        new_markdown_cell(f"# {title}\n\nQuestion."),
        new_code_cell("secret_code = 1", metadata={"tags": ["parameters"]}, outputs=[told]),
        new_code_cell("secret_code = 2", outputs=outputs),
        *([new_code_cell("study.finish()", outputs=[made])] if finished else []),
    ]
    nbformat.write(new_notebook(cells=cells), folder / f"{name}.ipynb")


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "RUNS", tmp_path)
    monkeypatch.setattr(report, "REPORTS", tmp_path / "reports")
    return tmp_path


def test_minutes_in_which_several_studies_ran_count_once(runs):
    for name, start, end in (
        ("01_symmetric", 0, 4),
        ("02_grid", 3, 5),
        ("03_cost", 3, 4),
        ("07_rl", 9, 10),
        ("09_claims", 0, 0),
    ):
        executed(runs, f"{name}__smoke", name)
        notebook = nbformat.read(runs / f"{name}__smoke.ipynb", as_version=4)
        times = {"start_time": f"2026-01-01T00:0{start}:00", "end_time": f"2026-01-01T00:{end:02}:00.000001"}
        notebook.metadata["papermill"] = times if end else {}
        nbformat.write(notebook, runs / f"{name}__smoke.ipynb")
    assert "· 6.0 minutes for these runs" in report.write("smoke").read_text()


@pytest.mark.parametrize(
    "profile, said",
    [
        ("nano", "problems: nano-numbers (400 problems), nano-code (200 problems), nano-logic (200 problems)"),
        ("smoke", "problems: nano-numbers (4 problems)"),
    ],
)
def test_a_benchmark_has_the_problems_that_are_read_of_it(runs, profile, said):
    executed(runs, f"01_symmetric__{profile}", "The baseline")
    assert said in report.write(profile).read_text()


def test_the_scorecard_comes_first_and_the_provenance_last(runs):
    executed(runs, "01_symmetric__smoke", "The baseline")
    executed(runs, "09_claims__smoke", "The claims")
    executed(runs, "02_grid__smoke", "The grid", finished=False)
    executed(runs, "01_symmetric__smoke__n_paths=2", "Another baseline")
    path = report.write("smoke")
    page = path.read_text()
    body = page[page.index("<main") :]
    assert path == runs / "reports" / "smoke.html"
    assert body.index("printed by The claims") < body.index("printed by The baseline") < body.index('id="provenance"')
    assert "The grid" not in body, "it was not finished"
    assert body.index('id="ablations"') < body.index("symmetric: n_paths=2") < body.index("printed by Another baseline")
    assert re.search("Not run on this profile yet: .*grid", body)
    body = page[page.index("<body") :]
    for hidden in ("secret_code", "sample/s", "told-by-parameters", "saved"):
        assert hidden not in body, hidden
    assert f"data:image/png;base64,{PIXEL[:20]}" in body and base64.b64decode(PIXEL)


def test_runs_of_another_profile_of_the_same_name_are_not_shown(runs, tmp_path):
    executed(runs, "01_symmetric__mine", "The baseline")
    (runs / "01_symmetric__mine.json").write_text(json.dumps({"values": {"profile": str(tmp_path / "one/mine.yaml")}}))
    assert report.executed(str(tmp_path / "one/mine.yaml")) and not report.executed(str(tmp_path / "two/mine.yaml"))


def test_the_page_asks_nothing_of_the_network(runs):
    executed(runs, "01_symmetric__smoke", "The baseline")
    page = report.write("smoke").read_text()
    assert not re.findall(r"""(?:src|href)=["']?(?:https?:)?//[^"'\s>]+""", page) and "import(" not in page
    assert not re.findall(r"@import[^;]*https?:", page)


def test_nothing_run_is_one_sentence(runs):
    with pytest.raises(
        UserError, match="no study of profile 'smoke' has been run to its end; run one first, as in `a2r run symmetric"
    ):
        report.write("smoke")


def test_figures_and_tables_have_numbers_captions_and_files(runs):
    page = report.Page()
    caption = {"a2r": {"figure": "figures/x/s_a", "caption": "A is above B. n = 3 problems."}}
    shown = page.output(new_output("display_data", data={"image/png": PIXEL}, metadata=caption), "A")
    assert 'alt="A is above B. n = 3 problems."' in shown and "<b>Figure 1.</b> A is above B" in shown
    assert 'href="../../figures/x/s_a.pdf"' in shown.replace(str(runs), "..") or "figures/x/s_a.pdf" in shown
    frame = pd.DataFrame({"model": ["b", "a"], "value": ["0.10 [0.05, 0.20]", "–"], "n": [10, 2]})
    html = new_output(
        "execute_result", data={"text/html": frame.to_html()}, metadata={"a2r": {"table": "figures/x/s_t.csv"}}
    )
    table = page.output(html, "The values")
    assert "<b>Table 1.</b> The values" in table and "figures/x/s_t.csv" in table
    assert table.count("<tr") == 3 and "<table border" not in table


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def in_browser(page, folder) -> tuple[str, str]:
    """The document after its scripts, and what the browser's console said."""
    command = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={folder}",
        "--enable-logging=stderr",
    ]
    flags = ["--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=5000", "--dump-dom"]
    done = subprocess.run([*command, *flags, page.as_uri()], capture_output=True, text=True, timeout=300)
    return done.stdout, "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM, reason="NO CHROMIUM HERE, SO NO PAGE WAS OPENED IN A BROWSER")
def test_in_a_browser_long_tables_fold_and_nothing_is_asked_of_the_network(runs):
    executed(runs, "01_symmetric__smoke", "The baseline")
    path = report.write("smoke")
    rows = pd.DataFrame({"model": [f"m{i}" for i in range(25)], "value": ["0.10 [0.05, 0.20]", "–", *range(23)]})
    long = report.Page().table(rows.to_html(), "long")
    click = "<script>document.querySelectorAll('th.n').forEach((h) => { h.click(); h.click(); });</script>"
    path.write_text(path.read_text().replace("</main>", f"{long}</main>").replace("</body>", f"{click}</body>"))
    document, console = in_browser(path, runs / "browser")
    assert console == ""
    assert "show all 25 rows" in document and document.count('class="more"') == 15
    shown = document[document.index("long </caption>") :]
    first = re.search(r'<tbody>\s*<tr[^>]*>\s*<td class="short">(\w+)</td>\s*<td class="n">(\d+)', shown)
    assert first and first.groups() == ("m24", "22"), "row numbers are gone, text is left, numbers right and sorted"
    assert 'aria-sort="descending"' in document


def interval(value: float) -> Interval:
    return Interval(value, value - 0.1, value + 0.1, 20)


def test_a_sweep_leaves_a_tidy_table_latex_and_a_figure(tmp_path, monkeypatch, lab):
    runs = []
    for n in (2, 4):
        folder = tmp_path / f"n_paths={n}"
        accuracy = {
            "Pass@1": interval(0.3),
            f"Cons@{n}": interval(0.4),
            f"Pass@{n}": interval(0.7),
            f"A2R@{n}": interval(n / 8),
        }
        row = {"explorer": "a", "synthesizer": "a", **accuracy, "A2R − Cons": interval(0.1), "ratio": "undefined"}
        frame = pd.DataFrame([{**row, "n": 20, "p": 0.5}])
        tables.save(frame, folder, "x_accuracy")
        tables.save(frame.assign(benchmark="b"), folder, "x_by_benchmark")
        runs.append(({"n_paths": str(n)}, folder))
    made = {"tables": ["x_accuracy.csv", "x_by_benchmark.csv", "x.parquet"]}
    monkeypatch.setattr(sweeps, "results", lambda folder: {"tables": [str(folder / name) for name in made["tables"]]})
    written = {path.name: path for path in sweeps.collect(lab, runs)}
    by_benchmark = {"x_by_benchmark_sweep.csv", "x_by_benchmark_sweep.tex"}  # one benchmark: no second figure
    assert set(written) == {f"x_accuracy_sweep.{kind}" for kind in ("csv", "tex", "png")} | by_benchmark
    assert written["x_accuracy_sweep.csv"].parent.name == "sweep_n_paths=2+4"
    others = [sweeps.collect(lab, runs, {"n_problems": n, "models": "a,x/b"})[0].parent.name for n in "53"]
    assert others == [f"sweep_n_paths=2+4_n_problems={n}_models=a+x-b" for n in "53"], "none overwrites another"
    latex = (tmp_path / "n_paths=2" / "x_accuracy.tex").read_text()
    assert "A2R $-$ Cons" in latex and "−" not in latex, "LaTeX refuses the sign itself"
    tidy = tables.read(written["x_accuracy_sweep.csv"])
    assert list(tidy) == ["n_paths", "explorer", "synthesizer", "N", "method", "value", "n"]
    a2r = tidy[tidy.method == "A2R"]
    assert a2r[["n_paths", "N"]].to_numpy().tolist() == [[2, 2], [4, 4]]
    assert [v.estimate for v in a2r.value] == [0.25, 0.5] and a2r.value.iloc[0].n == 20
    caption = written["x_accuracy_sweep.png"].with_name("x_accuracy_sweep_figure.tex").read_text()
    assert "A2R is highest at n\\_paths = 4 (a): 0.50 [0.40, 0.60]" in caption


def test_what_is_swept_is_split_at_commas_or_where_lists_are_at_semicolons():
    assert cli.listed("2,4") == ["2", "4"] and cli.listed("a,b;c") == ["a,b", "c"]

"""The report is one page that needs no network, made of whatever studies were run to their end."""

import base64
import re

import nbformat
import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from a2r import UserError
from a2r.lab import report, runner

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


def test_the_scorecard_comes_first_and_the_provenance_last(runs):
    executed(runs, "01_symmetric__smoke", "The baseline")
    executed(runs, "09_claims__smoke", "The claims")
    executed(runs, "02_grid__smoke", "The grid", finished=False)
    executed(runs, "01_symmetric__smoke__n_paths=2", "Another baseline")
    path = report.write("smoke")
    page = path.read_text()
    body = page[page.index("<body") :]
    assert path == runs / "reports" / "smoke.html"
    assert body.index("printed by The claims") < body.index("printed by The baseline") < body.index('id="provenance"')
    assert "The grid" not in body and "Another baseline" not in body, "unfinished, and run with other knobs"
    assert re.search("Not run on this profile yet: .*grid", body)
    for hidden in ("secret_code", "sample/s", "told-by-parameters", "saved"):
        assert hidden not in body, hidden
    assert f"data:image/png;base64,{PIXEL[:20]}" in body and base64.b64decode(PIXEL)


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


def test_a_sweep_s_tables_become_one(tmp_path, monkeypatch, lab):
    runs = []
    for n in ("1", "2"):
        folder = tmp_path / f"n_paths={n}"
        folder.mkdir()
        pd.DataFrame({"model": ["a", "b"], "accuracy": [0.1, int(n)]}).to_csv(folder / "x_accuracy.csv", index=False)
        runs.append(({"n_paths": n}, folder))
    monkeypatch.setattr(runner, "results", lambda folder: {"tables": [str(folder / "x_accuracy.csv"), "x.parquet"]})
    (path,) = runner.collected(lab, runs)
    assert path.parent.name == "sweep_n_paths=1+2"
    assert pd.read_csv(path).to_numpy().tolist() == [[1, "a", 0.1], [1, "b", 1.0], [2, "a", 0.1], [2, "b", 2.0]]

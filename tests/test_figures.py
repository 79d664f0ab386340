"""Figures fit the paper they are for: as wide as their size says, no text too small or beside the page, n and interval
named."""

import itertools
import re

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from a2r.results import figures, tables
from a2r.results.stats import Interval
from a2r.studies import controls, cost, family, grid, rl, scaling, symmetric

MODELS = ["nano-32", "nano-48", "nano-64", "nano-128"]


def some(estimate: float, n: int = 40) -> Interval:
    return Interval(estimate, estimate - 0.1, estimate + 0.1, n)


def outcomes() -> pd.DataFrame:
    """Every explorer with every synthesizer on twelve problems: Pass@1, Cons@4, Pass@4 and A2R@4."""
    chance = np.random.default_rng(0)
    pairs = [(e, "", m) for e in MODELS for m in ("Pass@1", "Cons@4", "Pass@4")]
    pairs += [(e, s, "A2R@4") for e, s in itertools.product(MODELS, [*MODELS, "nano-64-rl"])]
    rows = [
        {
            "benchmark": "b",
            "problem_id": f"p{i}",
            "explorer": e,
            "synthesizer": s,
            "method": m,
            "correct": chance.random(),
        }
        for e, s, m in pairs
        for i in range(12)
    ]
    return pd.DataFrame(rows)


def by_right() -> pd.DataFrame:
    rows = [
        {"model": m, "right references": k, "A2R@4": some(0.5), "Cons@4": some(0.4), "A2R − Cons": some(0.1 * k)}
        | {"A2R − Alone": some(0.05), "sets": 20 + k, "n": 20}
        for m in MODELS
        for k in range(5)
    ]
    return pd.DataFrame(rows)


def moves() -> pd.DataFrame:
    return pd.DataFrame(
        [{"explorer": e, "synthesizer": "nano-64-rl", **dict.fromkeys(controls.MOVES, some(0.2))} for e in MODELS]
    )


def compared() -> pd.DataFrame:
    names = ["Pass@1", "Pass@4", "Cons@6", "Alone@1", "Foreign@4", "Traces@4", "Selection@4"]
    return pd.DataFrame(
        [
            {"explorer": m, "synthesizer": "nano-64-rl", "control": c, "A2R − control": some(0.1)}
            for m in MODELS
            for c in names
        ]
    )


def checked() -> pd.DataFrame:
    return pd.DataFrame([{"explorer": m, "synthesizer": m, "e−": some(0.3), "e+": some(0.2)} for m in MODELS])


def before_after() -> pd.DataFrame:
    values = {"nano-64": some(0.5), "nano-64-rl": some(0.6), "difference": some(0.1)}
    rows = itertools.product(("A2R@4", "A2R@4 within the dial"), (*MODELS, "mean of all"))
    return pd.DataFrame([{"method": m, "explorer": e, **values} for m, e in rows])


def points() -> pd.DataFrame:
    rows = [(f"{m} Pass@1", "Pass@1", 0.2 * k + 0.1, 0.1 * 3**k, True) for k, m in enumerate(MODELS)]
    rows += [("nano-32 → nano-64-rl", "A2R", 0.5, 0.5, False), ("nano-64 Cons@4", "Cons", 0.3, 2.0, False)]
    return pd.DataFrame(
        [
            {"label": a, "family": f, "correct": some(y), "cost": Interval(x, 0.9 * x, 1.1 * x, 40), "front": b}
            for a, f, y, x, b in rows
        ]
    )


def scaled() -> pd.DataFrame:
    rows = itertools.product(
        [("nano-32", "nano-64"), ("nano-64", "nano-64")], (1, 2, 4, 8, 16), ("Cons@N", "Pass@N", "A2R@N")
    )
    return pd.DataFrame(
        [
            {"explorer": e, "synthesizer": s, "N": n, "method": m, "accuracy": some(0.1 + 0.02 * n)}
            for (e, s), n, m in rows
        ]
    )


def curves() -> pd.DataFrame:
    runs = itertools.product(("on-policy, T = 0.7", "on-policy, T = 1", "off-policy, T = 0.7"), range(2), range(1, 9))
    return pd.DataFrame([{"run": r, "seed": s, "step": k, "reward": 0.1 * k, "entropy": 1 / k} for r, s, k in runs])


def losses() -> list[dict]:
    curve = [{"tokens": 1e5 * k, "loss": 1 / k} for k in range(1, 9)]
    return [{"name": m, "stages": {stage: {"curve": curve} for stage in ("facts", "both")}} for m in MODELS]


SIZES = dict.fromkeys([*MODELS, "nano-64-rl"]) | {m: 1e5 * 3**k for k, m in enumerate([*MODELS, "nano-64-rl"])}
DRAWINGS = {
    "accuracy": lambda: symmetric.accuracy_bars(outcomes().query("synthesizer in ['', 'nano-64']"), 4),
    "right": lambda: figures.by_right_references(by_right()),
    "heatmap": lambda: grid.grid_heatmap(outcomes(), 4),
    "lines": lambda: grid.grid_lines(outcomes(), SIZES, 4, {"nano-64-rl": "nano-64"}),
    "moves": lambda: controls.draw_moves(moves()),
    "controls": lambda: controls.differences(compared()),
    "checking": lambda: controls.draw_checking(checked()),
    "rl": lambda: rl.draw_before_after(before_after()),
    "cost": lambda: cost.cost_front(points(), "unit", ("nano-32", "nano-64-rl", "nano-128")),
    "scaling": lambda: scaling.draw(scaled(), seen=8),
    "curves": lambda: figures.training_curves(curves()),
    "losses": lambda: family.loss_curves(losses()),
}


@pytest.mark.parametrize("size", figures.SIZES)
@pytest.mark.parametrize("name", DRAWINGS)
def test_a_figure_fits_its_paper(name, size):
    figures.style(size)
    figure = DRAWINGS[name]()
    figure.draw_without_rendering()
    width, height = figure.get_size_inches()
    assert width == figures.SIZES[size][0] and height < 11
    small = [t for t in figure.findobj(plt.Text) if t.get_text().strip() and t.get_fontsize() < figures.SMALLEST]
    assert not small
    drawn = figure.get_tightbbox()  # in inches, of everything that is drawn
    assert drawn.x0 > -0.02 and drawn.x1 < width + 0.02 and drawn.y0 > -0.02 and drawn.y1 < height + 0.02, "cut off"
    below = figure.texts[0].get_text().replace("\n", " ")
    assert re.search(r"n = |sets a point|\d (settings|models)", below) and figure.caption.endswith(f"{below}.")
    plt.close(figure)


def test_models_can_be_told_apart_in_grey():
    look = figures.looks(MODELS)
    grey = [0.299 * r + 0.587 * g + 0.114 * b for r, g, b in (v["color"] for v in look.values())]
    assert np.all(np.diff(grey) < -0.06) and len({v["marker"] for v in look.values()}) == len(MODELS)


def test_the_ink_of_the_heatmap_has_contrast():
    """At least 4.5 to 1 (WCAG) on the whole colour map."""
    figures.style()
    axes = grid.grid_heatmap(outcomes(), 4).axes[1]

    def luminance(rgb) -> float:
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb[:3]]
        return float(np.dot([0.2126, 0.7152, 0.0722], linear))

    (image,) = axes.images
    for text in axes.texts:
        j, i = text.get_position()
        ground = luminance(image.cmap(image.norm(image.get_array()[round(i), round(j)])))
        ink = luminance(plt.matplotlib.colors.to_rgb(text.get_color()))
        assert (max(ink, ground) + 0.05) / (min(ink, ground) + 0.05) >= 4.5


def test_a_latex_figure_escapes_what_latex_would_choke_on():
    said = tables.latex_figure("grid_lines", "A2R@4: +58% of e− & s_1 → {x}")
    assert r"\caption{A2R@4: +58\% of e$-$ \& s\_1 $\to$ \{x\}}" in said and r"\label{fig:grid_lines}" in said

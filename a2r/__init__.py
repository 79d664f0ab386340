"""A2R: asymmetric two-stage reasoning (arXiv 2509.22044), as a thin module behind the notebooks.

problems --ask--> samples --grade--> outcomes --draw--> figures, tables

lab = a2r.load_profile("nano").with_(n_sets=2)
problems = a2r.load_problems(lab)
pool = a2r.grade(a2r.explore(lab, "nano-32", problems, n=8), problems)
syntheses = a2r.grade(a2r.synthesize(lab, "nano-64", problems, pool), problems)
table = a2r.collect(problems, {"nano-32": pool}, {("nano-32", "nano-64"): syntheses}, a2r.read_prices(lab.prices), lab)
"""

import os
from importlib import import_module

from a2r.errors import UserError

_HOMES = {
    "a2r.methods": ("Choice", "method"),
    "a2r.outcomes": ("collect", "difficulty", "grade", "played"),
    "a2r.pipeline": ("cut_sets", "explore", "synthesize"),
    "a2r.prices": ("read_prices",),
    "a2r.problems": ("load_problems",),
    "a2r.profiles": ("load_profile",),
    "a2r.results": ("figures", "stats", "tables"),
    "a2r.results.study": ("begin", "read_outcomes"),
}

__all__ = ["UserError", *sorted(name for names in _HOMES.values() for name in names)]


def __getattr__(name: str):
    """Load a module when it, or a name of it, is first used: together they take seconds to import."""
    for module, names in _HOMES.items():
        if name in names:
            home = import_module(module)
            return getattr(home, name) if hasattr(home, name) else import_module(f"{module}.{name}")
    raise AttributeError(f"module 'a2r' has no attribute '{name}'")


if "A2R_TRACE" in os.environ:  # `a2r run` wants to know what its notebook reads
    import_module("a2r.results.trace").begin()

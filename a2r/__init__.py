"""A2R: asymmetric two-stage reasoning (arXiv 2509.22044), as a thin module behind the notebooks.

problems --ask--> samples --grade--> outcomes --draw--> figures, tables

lab = a2r.load_profile("nano")
problems = a2r.load_problems(lab)
pool = a2r.grade(a2r.explore(lab, "nano-32", problems, n=8), problems)
syntheses = a2r.grade(a2r.synthesize(lab, "nano-64", problems, pool, n_paths=4, n_sets=2), problems)
table = a2r.outcomes(problems, pool, a2r.read_prices(lab.prices), syntheses, n_paths=4, n_sets=2)
"""

from a2r.errors import UserError
from a2r.outcomes import collect, difficulty, grade, outcomes
from a2r.pipeline import cut_sets, explore, synthesize
from a2r.prices import read_prices
from a2r.problems import load_problems
from a2r.profiles import load_profile
from a2r.results import figures, stats, tables
from a2r.results.study import begin, read_outcomes

__all__ = [
    "UserError",
    "begin",
    "collect",
    "cut_sets",
    "difficulty",
    "explore",
    "figures",
    "grade",
    "load_problems",
    "load_profile",
    "outcomes",
    "read_outcomes",
    "read_prices",
    "stats",
    "synthesize",
    "tables",
]

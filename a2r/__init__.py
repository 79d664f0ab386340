"""A2R: asymmetric two-stage reasoning (arXiv 2509.22044), as a thin module behind the notebooks.

problems --ask--> samples --grade--> outcomes --draw--> figures, tables

lab = a2r.load_profile("nano")
problems = a2r.load_problems(lab)
pool = a2r.explore(lab, "nano-32", problems, n=8)
syntheses = a2r.synthesize(lab, "nano-64", problems, pool)
table = a2r.outcomes(problems, a2r.grade(pool, problems), a2r.read_prices(lab.prices), a2r.grade(syntheses, problems))
"""

from a2r.cost import read_prices
from a2r.errors import UserError
from a2r.outcomes import collect, difficulty, grade, outcomes
from a2r.pipeline import explore, synthesize
from a2r.problems import load_problems
from a2r.profiles import load_profile
from a2r.study import begin

__all__ = [
    "UserError",
    "begin",
    "collect",
    "difficulty",
    "explore",
    "grade",
    "load_problems",
    "load_profile",
    "outcomes",
    "read_prices",
    "synthesize",
]

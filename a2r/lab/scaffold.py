"""A new study from an existing one: `a2r new-study NAME --from symmetric`."""

import json
import re
from pathlib import Path

import nbformat

from a2r.errors import UserError
from a2r.lab import runner
from a2r.profiles import ROOT

STUDIES = ROOT / "a2r" / "studies"
MARK = "CHANGE"


def new_study(name: str, source: str) -> list[Path]:
    """Copy the notebook and the module of study `source` under a new name, with "CHANGE" wherever something has to be;
    returns the paths. UserError for a name that is taken or that no module can have.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise UserError(f"'{name}' cannot be a study's name: take lower-case letters, digits and underscores.")
    notebook = runner.find(source)
    old = notebook.stem[3:]
    if name in runner.available() or (STUDIES / f"{name}.py").exists():
        raise UserError(f"there is a study '{name}' already; choose another name.")
    if not (module := STUDIES / f"{old}.py").exists():
        raise UserError(f"{old} has no module to copy; start from another study.")
    copy = nbformat.read(notebook, as_version=4)
    # where the word is the module or the study: imported, before a dot, in quotes; `lab.symmetric` is the profile's
    own = rf'(from a2r\.studies import (?:\w+, )*|"(?={old}")|(?<![\w./])(?=\w+\.\w)){old}\b'
    for cell in copy.cells:
        if cell.cell_type == "code":
            cell.source = re.sub(own, rf"\g<1>{name}", cell.source)
    copy.cells[0].source = (
        f"# {MARK}: what {name} is about\n\n**Question.** {MARK}: one question that this study answers.\n\n"
        f"**Method.** {MARK}: what is sampled, what is compared, what the intervals are over."
    )
    number = 1 + max(int(path.stem[:2]) for path in runner.available().values())
    target = runner.NOTEBOOKS / f"{number:02d}_{name}.ipynb"
    target.write_text(json.dumps(copy, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    body = module.read_text(encoding="utf-8").split('"""', 2)[2].lstrip("\n")
    head = f'"""{MARK}: what this study computes and draws. Copied from {old}.py: keep what is needed."""\n\n'
    (STUDIES / f"{name}.py").write_text(head + body, encoding="utf-8")
    return [target, STUDIES / f"{name}.py"]

"""The files that install the project agree with one another, and what is committed is fit for a fresh clone."""

import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RUNTIME, EXTRAS = PROJECT["dependencies"], PROJECT["optional-dependencies"]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

# Split, so that this file passes its own test.
INDEX_HOSTS = [
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("files", "pythonhosted"),
        ("download", "pytorch"),
        ("registry", "npmjs"),
        ("deb", "debian"),
    )
]


def constraints() -> dict[str, str]:
    """The pinned version of each package by its canonical name. Anything but `name==version` fails the test that reads
    it."""
    lines = [line for line in (ROOT / ".constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    pins = {}
    for line in lines:
        name, version = line.split("==")
        assert canonicalize_name(name) not in pins, f".constraints.txt pins {name} twice"
        pins[canonicalize_name(name)] = version
    return pins


def test_the_conda_environment_asks_for_what_pyproject_asks_for():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    (pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    assert environment["channels"] == ["conda-forge", "nodefaults"]
    assert sorted(pip) == sorted([*RUNTIME, *EXTRAS["vllm"], *EXTRAS["rl"], *EXTRAS["dev"], "-e ."])


@pytest.mark.parametrize(
    "requirement", [Requirement(r) for r in RUNTIME + EXTRAS["rl"] + EXTRAS["dev"]], ids=lambda r: r.name
)
def test_the_constraints_pin_each_direct_dependency_within_its_bounds(requirement):
    pinned = constraints()
    name = canonicalize_name(requirement.name)
    assert name in pinned, f".constraints.txt does not pin {name}"
    assert pinned[name] in requirement.specifier


@pytest.mark.parametrize(
    "requirement", [Requirement(r) for r in RUNTIME + EXTRAS["rl"] + EXTRAS["vllm"]], ids=lambda r: r.name
)
def test_each_dependency_has_a_lower_and_an_upper_bound(requirement):
    assert {bound.operator for bound in requirement.specifier} == {">=", "<"}


def test_torch_is_pinned_without_a_build_so_that_any_build_of_it_fits():
    assert "+" not in constraints()["torch"]


@pytest.mark.parametrize("name", [".constraints.txt", "Makefile", "environment.yml"])
def test_what_installs_names_no_address(name):
    assert not re.search(r"://|--\S*index|--find-links", (ROOT / name).read_text())


def test_no_committed_file_names_an_index_host():
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listing.returncode:
        pytest.skip("not a git checkout")
    files = [ROOT / name for name in listing.stdout.split("\0") if name and (ROOT / name).is_file()]
    naming = [
        str(file.relative_to(ROOT)) for file in files if any(host.encode() in file.read_bytes() for host in INDEX_HOSTS)
    ]
    assert not naming


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_committed_notebook_is_clean_and_runs_anywhere(path):
    notebook = json.loads(path.read_text())
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] or cell["execution_count"] for cell in code), "committed with outputs"
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert sum("parameters" in cell["metadata"].get("tags", []) for cell in code) == 1, (
        "one cell is tagged `parameters`"
    )

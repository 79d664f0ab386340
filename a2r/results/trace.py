"""What a study's results came from, so that it need not be executed again while all of that is as it was.

Python tells of every file that it opens (an audit hook); what is opened below Python, and the samples, the road
reports the same way: `sys.audit("open", path, "r", 0)`, `sys.audit("a2r.samples", store, samples)`. A study need not
say what it depends on, and cannot forget it. Paths are noted from the repository's root, so that a copy of it is up to
date where that is.
"""

import base64
import hashlib
import json
import os
import platform
import sys
import time
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pandas as pd
from IPython import get_ipython

from a2r.profiles import ROOT, digest, from_root
from a2r.store import reader

PACKAGES = (
    *("torch", "transformers", "numba", "vllm"),
    *("datasets", "pandas", "scipy", "seaborn", "papermill", "math-verify"),
)
OWN = {"runs", ".venv", ".git", ".ipynb_checkpoints", "a2r.egg-info"}  # below ROOT, and nothing that results come from


@cache
def versions() -> dict[str, str]:
    """Of Python and of those packages that results may depend on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


class Trace:
    """What this process reads from now on; Python keeps it until the process ends."""

    def __init__(self):
        self.began = time.time()
        self.files: dict[str, float] = {}  # and when they were first opened
        self.lists: set[tuple[str, str]] = set()
        self.samples: dict[str, list[pd.DataFrame]] = {}
        sys.addaudithook(self._seen)

    def _seen(self, event: str, arguments: tuple) -> None:
        if event == "open" and isinstance(arguments[0], str | os.PathLike) and str(arguments[1] or "r")[0] == "r":
            self.files.setdefault(os.path.abspath(arguments[0]), time.time())
        elif event == "pathlib.Path.glob":
            self.lists.add((os.path.abspath(arguments[0]), str(arguments[1])))
        elif event == "a2r.samples":
            self.samples.setdefault(str(arguments[0]), []).append(arguments[1][["id", "time"]])

    def found(self, made: set[Path], also: set[Path]) -> dict:
        """Digests of the files read below ROOT and of the files `also`, but not of what the study itself has `made`.

        A file that was changed after it was opened has none: what is there now is not what was read.
        """
        modules = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
        read = filter(_counts, map(Path, self.files.keys() | {file for file in modules if file}))
        files = sorted(file for file in {*read, *also} - made if file.is_file())
        late = {file for file in files if file.stat().st_mtime > self.files.get(str(file), self.began)}
        lists = sorted((folder, pattern) for folder, pattern in self.lists if _counts(Path(folder)))
        return {
            "versions": versions(),
            "files": digests(files) | dict.fromkeys(map(from_root, late), ""),
            "lists": [[from_root(Path(folder)), pattern, names(folder, pattern)] for folder, pattern in lists],
            "samples": {from_root(Path(store)): _packed(pd.concat(frames)) for store, frames in self.samples.items()},
            "made": digests(sorted(made)),
        }


def changed(found: dict) -> str | None:
    """The first thing that is no longer as it was when `found` was, in a word or two; None if nothing is."""
    for package in found["versions"].keys() | versions().keys():
        if found["versions"].get(package) != versions().get(package):
            return f"another version of {package}"
    for file, before in {**found["files"], **found["made"]}.items():
        if not (ROOT / file).is_file() or digest(ROOT / file) != before:
            return f"{file} is not as it was"
    for folder, pattern, before in found["lists"]:
        if names(folder, pattern) != before:
            return f"{folder} has other files"
    for store, before in found["samples"].items():
        packed = base64.b64decode(before["ids"]).hex()
        known = reader(ROOT / store)
        known.look()
        there = known.rows.reindex([packed[i : i + 32] for i in range(0, len(packed), 32)])
        if (there.error != "").any() or _times(there) != before["times"]:
            return f"samples in {store} are missing, failed, or others"
    return None


def _counts(path: Path) -> bool:
    inside = path.is_relative_to(ROOT) and not path.is_relative_to(sys.prefix)
    return inside and not OWN & set(path.relative_to(ROOT).parts)


def digests(files: Iterable[Path]) -> dict[str, str]:
    """By their paths from the repository's root."""
    return {from_root(file): digest(file) for file in files}


def names(folder: str, pattern: str) -> list[str]:
    return sorted(path.name for path in (ROOT / folder).glob(pattern))


def _packed(samples: pd.DataFrame) -> dict[str, str]:
    """The ids, and a hash of when they were made: the same id made again is another text."""
    samples = samples.drop_duplicates("id")
    return {"ids": base64.b64encode(bytes.fromhex("".join(samples.id))).decode(), "times": _times(samples)}


def _times(samples: pd.DataFrame) -> str:
    return hashlib.sha256(samples.time.to_numpy(float).tobytes()).hexdigest()[:16]


current: Trace | None = None  # of this process, where `a2r run` has started it


def begin() -> None:
    """Trace from here on, if `a2r run` has said where to write it (A2R_TRACE)."""
    global current
    if current is None and "A2R_TRACE" in os.environ:
        current = Trace()


def write(made: set[Path], also: set[Path]) -> None:
    """Write what was found to where `a2r run` looks for it, and await the end of the kernel.

    Who shuts a kernel down interrupts it first, and papermill's last question may still be under way then: an
    interrupt that hits its handler is reported as an error. From here on handlers leave interrupts ignored.
    """
    if current is not None:
        Path(os.environ["A2R_TRACE"]).write_text(json.dumps(current.found(made, also)))
        get_ipython().kernel.pre_handler_hook = lambda: None

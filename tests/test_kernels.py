"""Studies side by side, in processes that are forked with everything loaded: run as any other, and nobody stays."""

import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import nbformat
import pytest
from fakes import write_profile
from test_studies import write_notebook

from a2r.lab import kernels
from a2r.profiles import ROOT

pytestmark = pytest.mark.skipif(not kernels.AVAILABLE, reason="kernels are forked on Linux alone")

# what a kernel has loaded before it imports this package, and where it is
FIRST = "import os, sys\nloaded = 'torch' in sys.modules, [m for m in sys.modules if m.startswith('a2r')]"
WHERE = "os.environ['OMP_NUM_THREADS'], os.getcwd(), os.getpid() == os.getsid(0), 'A2R_TRACE' in os.environ"
LINE = "__import__('ipykernel.connect').connect.get_connection_info(unpack=True)"  # ports are now and then given twice
THEN = f"import a2r\nprint(loaded, {WHERE}, {LINE}['transport'])"
FAILS = "import a2r.prices\nraise ValueError('no')"
DIES = "import os\nos._exit(3)"
SLEEPS = "import time, pathlib\npathlib.Path('asleep').write_text(str(os.getpid()))\ntime.sleep(600)"


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A copy of the package with two studies of its own, `one` and `two`, and a profile."""
    shutil.copytree(ROOT / "a2r", tmp_path / "a2r", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "notebooks").mkdir()
    write_profile(tmp_path, models=[{"name": "a", "path": "made/up-a", "parameters": 1000}])
    for name in ("01_one", "02_two"):
        write_notebook(tmp_path / "notebooks", name, FIRST, THEN, parameters='profile = "nano"')
    return tmp_path


def begin(checkout: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "a2r.cli", "run", "one", "two", "--profile", "tiny.yaml"]
    env = {**os.environ, "PYTHONPATH": str(checkout)}
    env.pop("OMP_NUM_THREADS", None)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "start_new_session": True}
    # where the tests run in the background, SIGINT is ignored, also by whom they start
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    return subprocess.Popen(command, cwd=checkout, env=env, preexec_fn=heard, **pipes)


def test_a_kernel_has_everything_loaded_but_this_package(checkout):
    running = begin(checkout)
    said = running.communicate(timeout=120)[0]
    assert running.returncode == 0, said
    for name in ("01_one", "02_two"):
        cells = nbformat.read(checkout / "runs" / "notebooks" / f"{name}__tiny.ipynb", as_version=4).cells
        printed = "".join(out.text for cell in cells for out in cell.outputs)
        assert printed.split() == [
            "(True,",
            "[])",
            str(max(1, os.cpu_count() // 2)),
            str(checkout),
            *2 * ["True"],
            "ipc",
        ]


@pytest.mark.parametrize(
    "cell, sentence",
    [
        (FAILS, "of 01_one.ipynb failed (ValueError: no)"),
        (DIES, "the kernel of 01_one.ipynb died; the samples are kept"),
    ],
)
def test_one_that_fails_is_told_as_ever_and_the_other_is_kept(checkout, cell, sentence):
    write_notebook(checkout / "notebooks", "01_one", FIRST, cell, parameters='profile = "nano"')
    running = begin(checkout)
    said = running.communicate(timeout=120)[0]
    assert running.returncode == 1 and sentence in said.splitlines()[-1]
    assert (checkout / "runs" / "notebooks" / "02_two__tiny.ipynb").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=lambda n: n.name)
def test_nobody_stays_when_a_run_is_stopped(checkout, number):
    write_notebook(checkout / "notebooks", "02_two", FIRST, SLEEPS, parameters='profile = "nano"')
    running = begin(checkout)
    deadline = time.monotonic() + 90
    while not (checkout / "asleep").exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    (os.killpg if number == signal.SIGINT else os.kill)(running.pid, number)
    running.communicate(timeout=30)  # ends when nobody holds its output
    kernel = int((checkout / "asleep").read_text())
    while Path(f"/proc/{kernel}").exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not Path(f"/proc/{kernel}").exists()

"""Kernels that begin with everything loaded, on Linux: importing torch, transformers, scipy and seaborn takes nearly
ten seconds of a processor, and all studies of small models together some twenty minutes of one.

`multiprocessing` has a server that loads them once and forks a process for each study. That forks another one before
it does anything, which waits to become the study's kernel, and imports this package itself, as any kernel does.
"""

import os
import signal
import sys
from multiprocessing import Pipe, forkserver, get_context
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from uuid import uuid4

from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning import LocalProvisioner

LOADED = ["a2r.engines.local", "a2r.results.figures", "a2r.results.stats", "ipykernel.kernelapp", "papermill"]
# glibc otherwise gives the memory of each batch back to the system and asks for it again: 5% of an engine's time
MEMORY = {"MALLOC_MMAP_THRESHOLD_": "4294967296", "MALLOC_TRIM_THRESHOLD_": "100000000000"}
AVAILABLE = sys.platform == "linux"  # elsewhere a fork of what has loaded all that is not safe

waiting: tuple[BaseProcess, Connection] | None = None  # the kernel to be of this process, and the line to it


def loaded(threads: int) -> BaseContext:
    """A context whose processes are forked with `LOADED`, and with `threads` threads each for arithmetic."""
    context = get_context("forkserver")
    context.set_forkserver_preload(LOADED)
    # read when the server starts and loads its libraries
    added = {k: v for k, v in {"OMP_NUM_THREADS": str(threads), **MEMORY}.items() if k not in os.environ}
    os.environ.update(added)
    try:
        forkserver.ensure_running()
    finally:
        for name in added:
            del os.environ[name]
    return context


def prepare() -> None:
    """Fork the kernel that this process will want; to be called before it has any thread."""
    global waiting
    here, there = Pipe()
    process = get_context("fork").Process(target=_become, args=(here, there))
    process.start()
    there.close()
    waiting = process, here


def _become(far: Connection, line: Connection) -> None:
    """Wait for an order and be that kernel; end when whoever may give one does."""
    far.close()
    try:
        argv, env, folder = line.recv()
    except EOFError:
        return
    from ipykernel.kernelapp import launch_new_instance

    os.setsid()  # signals reach it and its own children alone, as those of any kernel
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(env)
    for name in [name for name in sys.modules if name.split(".")[0] == "a2r"]:
        del sys.modules[name]  # imported anew, `a2r run` is told which of them the study uses
    sys.argv = argv
    launch_new_instance(argv=argv[1:])


class Forked:
    """The kernel that waits, as a LocalProvisioner sees a subprocess.Popen."""

    stdin = stdout = stderr = None

    def __init__(self, command: list[str], env: dict[str, str], folder: str):
        self._process, line = waiting
        self.pid = self._process.pid
        launcher = command.index("-m") + 1  # python -m ipykernel_launcher -f FILE ...
        parent = f"--IPKernelApp.parent_handle={os.getpid()}"  # it ends where this process does
        line.send(([*command[launcher:], parent], env, folder))

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self) -> int:
        self._process.join()
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self._process.kill()

    def terminate(self) -> None:
        self._process.terminate()


class Provisioner(LocalProvisioner):
    """Launches the kernel that waits."""

    async def launch_kernel(self, cmd: list[str], **kwargs) -> dict:
        global waiting
        self.cwd = kwargs.get("cwd") or os.getcwd()
        self.process = Forked(cmd, kwargs["env"], self.cwd)
        waiting = None
        self.pid = self.pgid = self.process.pid
        return self.connection_info


class Manager(AsyncKernelManager):
    """A manager of the kernel that waits, if there is one.

    They talk by sockets of a name, where there are such that leave no file: a free port, which each manager looks for
    on its own and the kernel takes later, is now and then found by two.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        if AVAILABLE:
            self.transport, self.ip = "ipc", f"@a2r-{uuid4().hex}"

    async def _async_pre_start_kernel(self, **kwargs) -> tuple:
        if waiting and self.provisioner is None:
            self.provisioner = Provisioner(kernel_spec=self.kernel_spec, parent=self)
        return await super()._async_pre_start_kernel(**kwargs)

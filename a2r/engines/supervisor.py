"""`python supervisor.py COMMAND ...`: run a command for as long as whoever started this lives.

Whoever started this holds the other end of its standard input. However that process ends (done, Ctrl-C,
killed, a notebook's kernel restarted), the pipe closes, and the command ends with all that it has started.
"""

import os
import signal
import subprocess
import sys
import threading
import time

GRACE = 10.0  # seconds between asking and killing


def main(command: list[str]) -> int:
    """Run `command` until it ends or standard input closes; returns its exit status."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    signal.signal(signal.SIGTERM, lambda *_: end(child))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole terminal; who started this decides
    threading.Thread(target=watch, args=(child,), daemon=True).start()
    return child.wait()


def watch(child: subprocess.Popen) -> None:
    while os.read(0, 1024):
        pass
    end(child)


def end(child: subprocess.Popen) -> None:
    """End the child, then the whole process group, this process with it."""
    if child.poll() is None:
        child.terminate()
        deadline = time.monotonic() + GRACE
        while child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    status = main(sys.argv[1:])
    # workers that outlived a crash of their parent
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.killpg(0, signal.SIGTERM)
    sys.exit(status)

"""Times the store at the paper's size: 100,000 samples of 45 KB, each question in a process of its own.

`python tests/bench_store.py FOLDER` makes the store there first (1.1 GB, a minute or two) unless it is there. The bars:
`ask` for 500 known samples in 2 s and 500 MB, the graded pool of one model (10,000 samples) in 30 s at first and 3 s
after; and adding 1,000 samples reads nothing.
"""

import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

import a2r
from a2r.outcomes import grade
from a2r.pipeline import explore, explorer_asks, prepare
from a2r.store import Store

MODELS, PROBLEMS, PATHS, CHARACTERS, FLUSHED = 10, 100, 100, 45_000, 50  # FLUSHED: samples that come in 5 seconds


def main(folder: Path, step: str | None = None) -> None:
    names = [f"model-{i}" for i in range(MODELS)]
    problems = pd.DataFrame(
        [{"problem_id": f"p{i}", "question": f"What is {i} + {i}?", "answer": str(2 * i)} for i in range(PROBLEMS)]
    )
    folder.mkdir(parents=True, exist_ok=True)
    problems.to_csv(folder / "sums.csv", index=False)
    models = [{"name": name, "path": f"made/{name}"} for name in names]
    profile = {"models": models, "benchmarks": [{"name": "sums", "path": str(folder / "sums.csv")}], "engine": "replay"}
    (folder / "bench.yaml").write_text(yaml.safe_dump({**profile, "store": str(folder / "samples")}))
    lab = a2r.load_profile(str(folder / "bench.yaml"))
    problems = a2r.load_problems(lab)
    if step is None:
        if not lab.store_path.exists():
            make(lab, problems, names)
        parts = [part.stat().st_size for part in lab.store_path.glob("*.parquet")]
        print(f"{len(parts)} part files, {sum(parts) / 1e9:.2f} GB, the largest {max(parts, default=0) / 1e6:.0f} MB")
        for step in STEPS:
            subprocess.run([sys.executable, __file__, str(folder), step], check=True)
        return
    before, started, worked = peak(), time.perf_counter(), time.process_time()
    said = STEPS[step](lab, problems)
    seconds, work, most = time.perf_counter() - started, time.process_time() - worked, peak()
    print(f"{seconds:6.2f} s, {work:5.2f} s of work, {most:4.0f} MB ({before:.0f} before)  {step}: {said}", flush=True)


def peak() -> float:
    """The most memory that this process has held, in MB (ru_maxrss would begin with its parent's)."""
    return (
        int(
            next(
                line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")
            ).split()[1]
        )
        / 1024
    )


def texts():
    """Endless long outputs, about as compressible as those of a model (4 to 5 times)."""
    rng = np.random.default_rng(0)
    words = np.array(["".join(map(chr, rng.integers(97, 123, length))) for length in rng.integers(2, 10, 5000)])
    book = " ".join(words[np.minimum(rng.zipf(1.3, 1_500_000), 5000) - 1])
    while True:
        cuts = rng.integers(0, len(book) - 1500, CHARACTERS // 1500)
        yield "<think>" + "".join(book[cut : cut + 1500] for cut in cuts) + f"</think>\\boxed{{{rng.integers(40)}}}"


def make(lab, problems, names) -> None:
    """The store as runs of one model after another leave it: a part every five seconds."""
    started, filled = (
        time.perf_counter(),
        {"engine": "made", "engine_version": "1", "finish_reason": "stop", "cached_tokens": 0},
    )
    filled |= {"prompt_tokens": 100, "completion_tokens": CHARACTERS // 4, "seconds": 60.0, "error": ""}
    outputs = texts()
    for name in names:
        rows = list(prepare(lab, name, "explorer", explorer_asks(lab, problems, PATHS), set())[1].values())
        with Store(lab.store_path) as store:
            for i, (row, text) in enumerate(zip(rows, outputs, strict=False)):
                store.add({**row, **filled, "text": text, "time": time.time()})
                if i % FLUSHED == FLUSHED - 1:
                    store.flush()
    print(f"{time.perf_counter() - started:7.2f} s  to make the store")


def ask(lab, problems) -> str:
    return f"{len(explore(lab, 'model-3', problems[:5], PATHS))} samples"


def ask_and_read(lab, problems) -> str:
    return f"{explore(lab, 'model-3', problems[:5], PATHS).text.str.len().sum():,} characters"


def graded(lab, problems) -> str:
    pool = grade(explore(lab, "model-3", problems, PATHS), problems)
    return f"{len(pool):,} graded, {pool.correct.mean():.3f} right"


def add(lab, problems) -> str:
    other = prepare(lab.with_(seed=1), "model-0", "explorer", explorer_asks(lab, problems, 10), set())[1].values()
    filled = {"engine": "made", "engine_version": "1", "finish_reason": "stop", "cached_tokens": 0, "prompt_tokens": 1}
    outputs = list(islice(texts(), len(other)))
    started, read = time.perf_counter(), bytes_read()
    with Store(lab.store_path) as store:
        for row, text in zip(other, outputs, strict=True):
            store.add(
                {
                    **row,
                    **filled,
                    "completion_tokens": 1,
                    "seconds": 1.0,
                    "error": "",
                    "text": text,
                    "time": time.time(),
                }
            )
    return f"{len(other):,} samples in {time.perf_counter() - started:.2f} s, {(bytes_read() - read) / 1e6:.1f} MB read"


def bytes_read() -> int:
    """What this process has read of files, from the disk or its cache."""
    return int(dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())["rchar"])


STEPS = {"ask": ask, "ask, texts read": ask_and_read, "graded pool": graded, "graded pool again": graded, "add": add}

if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:3])

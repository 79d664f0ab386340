"""The store of samples: append-only Parquet parts in one folder, readable by any Parquet reader.

Each writer makes its own files, written to a temporary name and renamed, so processes and machines
never share one and a crash loses at most the samples of the last few seconds.
"""

import logging
import os
import time
import uuid
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from a2r.errors import UserError

log = logging.getLogger(__name__)

FLUSH_SECONDS = 5.0

# One row a generated text. Nothing that can be recomputed is here: the thinking split, the extracted
# answer and its correctness are derived from `text`.
SCHEMA = pa.schema(
    [
        ("id", pa.string()),  # hash of model, revision, messages, sampling, index
        ("role", pa.string()),  # explorer or synthesizer
        ("model", pa.string()),
        ("revision", pa.string()),
        ("engine", pa.string()),
        ("engine_version", pa.string()),
        ("benchmark", pa.string()),
        ("problem_id", pa.string()),
        ("set", pa.int32()),  # which set of references a synthesis read; -1 for explorers
        ("explorer", pa.string()),  # whose references a synthesis read; "" for explorers
        ("condition", pa.string()),  # how its reference context was made; "" for explorers
        ("prompt_sha", pa.string()),
        ("sampling", pa.string()),  # JSON: temperature, top_p, top_k, max_tokens, template, run seed
        ("index", pa.int32()),
        ("seed", pa.int64()),
        ("text", pa.large_string()),
        ("finish_reason", pa.string()),  # stop, length, error
        ("prompt_tokens", pa.int32()),
        ("cached_tokens", pa.int32()),
        ("completion_tokens", pa.int32()),
        ("seconds", pa.float64()),
        ("error", pa.string()),
        ("time", pa.float64()),  # seconds since the epoch
    ]
)


class Store:
    """Samples on disk in `folder`. Use as a context manager while writing: leaving it flushes.

    Raises UserError if the folder cannot be written. A part that cannot be read is set aside (renamed
    to *.damaged, named in a warning), and its samples are asked for again.
    """

    def __init__(self, folder: str | Path, writable: bool = True):
        self.folder = Path(folder)
        self._buffer: list[dict] = []
        self._flushed = time.monotonic()
        self._frames: dict[str, pd.DataFrame] = {}
        self._cache: pd.DataFrame | None = None
        if not writable:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            probe = self.folder / f".probe-{uuid.uuid4().hex}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise UserError(f"the store {self.folder} cannot be written ({error.strerror}); free the folder or set another one with 'store'.") from error

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_) -> None:
        self.flush()

    def add(self, row: dict) -> None:
        """Take one sample; it is on disk after FLUSH_SECONDS at the latest."""
        self._buffer.append(row)
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what has been added since the last flush as a part of its own."""
        self._flushed = time.monotonic()
        if not self._buffer:
            return
        name = f"{time.time_ns()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.parquet"
        partial = self.folder / f".{name}.tmp"
        try:
            with partial.open("wb") as file:
                pq.write_table(pa.Table.from_pylist(self._buffer, schema=SCHEMA), file, compression="zstd")
                file.flush()
                os.fsync(file.fileno())
            partial.rename(self.folder / name)
        except OSError as error:
            raise UserError(f"the store {self.folder} took no more samples ({error.strerror}); make room and run again: what was written before is kept.") from error
        self._buffer = []

    def read(self) -> pd.DataFrame:
        """All samples, one row an id; where an id was asked for again after a failure, the row that succeeded."""
        self.flush()
        changed = False
        for part in sorted(self.folder.glob("*.parquet")):
            if part.name in self._frames:
                continue
            try:
                self._frames[part.name] = pq.read_table(part, schema=SCHEMA).to_pandas()
                changed = True
            except FileNotFoundError:
                continue  # another process compacted it away
            except (pa.ArrowException, OSError) as error:
                aside = part.with_suffix(".damaged")
                part.rename(aside)
                log.warning("The part file %s is damaged (%s); it was set aside as %s and its samples will be asked for again.", part, str(error).splitlines()[0], aside.name)
        if changed or self._cache is None:
            frames = list(self._frames.values())
            frame = pd.concat(frames, ignore_index=True) if frames else SCHEMA.empty_table().to_pandas()
            frame = frame.sort_values("error", key=lambda e: e != "", kind="stable").drop_duplicates("id")
            self._cache = frame.set_index("id", drop=False).rename_axis(None)
        return self._cache

"""The store of samples: append-only Parquet parts in one folder, readable by any Parquet reader.

Each writer makes its own files, written to a temporary name and renamed, so processes and machines
never share one and a crash loses at most the samples of the last few seconds.
"""

import logging
import os
import threading
import time
import uuid
from contextlib import suppress
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

# What this process has read, by folder: part files never change, so a study that asks fifty times reads each of them once.
_READ: dict[Path, dict[tuple, pd.DataFrame]] = {}
_WHOLE: dict[Path, tuple[list[tuple], pd.DataFrame]] = {}


class Store:
    """Samples on disk in `folder`. Use as a context manager while writing: leaving it flushes.

    Raises UserError if the folder cannot be written. A part that is damaged (its checksums tell) is set
    aside, renamed to *.damaged and named in a warning, and its samples are asked for again.
    """

    def __init__(self, folder: str | Path, writable: bool = True):
        self.folder = Path(folder)
        self._buffer: list[dict] = []
        self._lock = threading.RLock()
        self._timer: threading.Timer | None = None
        if not writable:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            probe = self.folder / f".probe-{uuid.uuid4().hex}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise UserError(
                f"the store {self.folder} cannot be written ({error.strerror}); free the folder or set another one with 'store'."
            ) from error

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_) -> None:
        self.flush()

    def add(self, row: dict) -> None:
        """Take one sample; it is on disk after FLUSH_SECONDS at the latest, whether or not another one comes."""
        with self._lock:
            # a server may send half of a character, which no file can hold
            self._buffer.append({**row, "text": row["text"].encode(errors="replace").decode()})
            if len(self._buffer) == 1:
                self._timer = threading.Timer(FLUSH_SECONDS, self._flush_in_time)
                self._timer.daemon = True
                self._timer.start()
            elif not self._timer.is_alive():  # it could not write; what stood in its way is for the caller
                self.flush()

    def _flush_in_time(self) -> None:
        with suppress(UserError):
            self.flush()

    def flush(self) -> None:
        """Write what has been added since the last flush as a part of its own."""
        with self._lock:
            if self._buffer:
                self._timer.cancel()
                self._write()
                self._buffer = []

    def _write(self) -> None:
        name = f"{time.time_ns()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.parquet"
        partial = self.folder / f".{name}.tmp"
        try:
            with partial.open("wb") as file:
                pq.write_table(pa.Table.from_pylist(self._buffer, schema=SCHEMA), file, compression="zstd", write_page_checksum=True)
                file.flush()
                os.fsync(file.fileno())
            partial.rename(self.folder / name)
        except OSError as error:
            with suppress(OSError):
                partial.unlink()
            raise UserError(
                f"the store {self.folder} took no more samples ({error.strerror}); make room and run again: what was written is kept."
            ) from error

    def read(self) -> pd.DataFrame:
        """All samples, one row an id; where an id was asked for again after a failure, the row that succeeded."""
        self.flush()
        parts, read = {}, _READ.setdefault(self.folder, {})
        for part in sorted(self.folder.glob("*.parquet")):
            try:
                stat = part.stat()
                stamp = (part.name, stat.st_mtime_ns, stat.st_size)
                if stamp not in read:
                    table = pq.read_table(part, schema=SCHEMA, page_checksum_verification=True)
                    if any(column.null_count for column in table.columns):
                        raise pa.ArrowInvalid("values are missing")
                    read[stamp] = table.to_pandas()
                parts[stamp] = read[stamp]
            except FileNotFoundError:
                continue  # another process found it damaged first
            except (pa.ArrowException, OSError, ValueError) as error:
                if isinstance(error, OSError) and error.errno:  # the file may be sound: no permission, too many open files
                    raise UserError(f"the part file {part} cannot be read ({error.strerror}); make it readable and run again.") from error
                self._set_aside(part, str(error).splitlines()[0])
        before, frame = _WHOLE.get(self.folder, (None, None))
        if before != list(parts):
            _READ[self.folder] = parts
            frame = pd.concat(parts.values(), ignore_index=True) if parts else SCHEMA.empty_table().to_pandas()
            frame = frame.sort_values("error", key=lambda e: e != "", kind="stable").drop_duplicates("id")
            frame = frame.set_index("id", drop=False).rename_axis(None)
            _WHOLE[self.folder] = (list(parts), frame)
        return frame.copy(deep=False)

    def _set_aside(self, part: Path, reason: str) -> None:
        aside = part.with_suffix(".damaged")
        try:
            part.rename(aside)
        except FileNotFoundError:
            return  # another process was faster
        except OSError as error:
            raise UserError(
                f"the part file {part} is damaged ({reason}) and could not be renamed ({error.strerror}); remove it."
            ) from error
        log.warning(
            "The part file %s is damaged (%s); it was set aside as %s and its samples will be asked for again.", part, reason, aside.name
        )

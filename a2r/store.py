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
ABANDONED_SECONDS = 3600.0  # a temporary file this old has no writer any more

# One row a generated text. Nothing that can be recomputed is here: the thinking split, the extracted
# answer and its correctness are derived from `text`.
SCHEMA = pa.schema(
    [
        ("id", pa.string()),  # hash of model, revision, messages, sampling, index
        (
            "role",
            pa.string(),
        ),  # explorer, synthesizer, or scorer (who writes nothing, and whose numbers are those of another's text)
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
        ("logprob_mean", pa.float64()),  # of the tokens written, nats per token: all of them,
        ("logprob_tail", pa.float64()),  # the last window,
        ("logprob_lowest", pa.float64()),  # and the window where it is lowest (engines.log_probs)
    ]
)

# Columns in which a value may be missing, and which parts written before they were thought of lack; they read as null.
OPTIONAL: frozenset[str] = frozenset({"logprob_mean", "logprob_tail", "logprob_lowest"})

# What this process has read, by folder: part files never change, so a study that asks fifty times reads each of them
# once.
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
                f"the store {self.folder} cannot be written ({error.strerror}); "
                "free the folder or set another one with 'store'."
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
                self._write(pa.Table.from_pylist(self._buffer, schema=SCHEMA))
                self._buffer = []

    def _write(self, table: pa.Table) -> None:
        try:
            write_part(table, self.folder / f"{time.time_ns()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.parquet")
        except OSError as error:
            raise UserError(
                f"the store {self.folder} took no more samples ({error.strerror}); make room and run again: "
                "what was written is kept."
            ) from error

    def read(self) -> pd.DataFrame:
        """All samples, one row an id; where an id was asked for again after a failure, the row that succeeded."""
        self.flush()
        parts = self.parts()
        before, frame = _WHOLE.get(self.folder, (None, None))
        if before != list(parts):
            _READ[self.folder] = parts
            frame = pd.concat(parts.values(), ignore_index=True) if parts else SCHEMA.empty_table().to_pandas()
            frame = frame.sort_values("error", key=lambda e: e != "", kind="stable").drop_duplicates("id")
            frame = frame.set_index(frame.id.to_numpy(object))  # plain text: looked up often
            _WHOLE[self.folder] = (list(parts), frame)
        return frame.copy(deep=False)

    def parts(self) -> dict[tuple, pd.DataFrame]:
        """The sound part files as (name, time of change, bytes) -> samples; damaged ones are set aside."""
        parts, read, complete = {}, _READ.setdefault(self.folder, {}), False
        while not complete:
            complete = True
            for part in sorted(self.folder.glob("*.parquet")):
                try:
                    stat = part.stat()
                    stamp = (part.name, stat.st_mtime_ns, stat.st_size)
                    parts[stamp] = read[stamp] = read[stamp] if stamp in read else read_part(part)
                except FileNotFoundError:
                    complete, parts = False, {}  # another process set it aside, or put it into a larger one: look again
                except (pa.ArrowException, OSError, ValueError) as error:
                    # the file may be sound: no permission, too many open files
                    if isinstance(error, OSError) and error.errno:
                        reason = error.strerror
                        raise UserError(
                            f"the part file {part} cannot be read ({reason}); make it readable and run again."
                        ) from error
                    self._set_aside(part, str(error).splitlines()[0])
        return parts

    def compact(self) -> tuple[int, int]:
        """Put all parts into one; returns how many there were and how many samples they have. Safe beside other
        processes.

        The old parts go only when the new one is on disk. Every row is kept but those that are in there twice.
        """
        self.flush()
        parts = self.parts()
        if len(parts) > 1:
            frame = pd.concat(parts.values(), ignore_index=True).drop_duplicates(["id", "error", "time"])
            self._write(pa.Table.from_pandas(frame, schema=SCHEMA, preserve_index=False))
            for name, *_ in parts:
                with suppress(FileNotFoundError):
                    (self.folder / name).unlink()
        for partial in self.folder.glob(".*.tmp"):  # of writers that were killed
            if time.time() - partial.stat().st_mtime > ABANDONED_SECONDS:
                partial.unlink()
        return len(parts), len(self.read())

    def export(self, file: str | Path) -> int:
        """Write all samples to one Parquet file that another store can `bring_in`; returns how many."""
        frame = self.read()
        try:
            write_part(pa.Table.from_pandas(frame, schema=SCHEMA, preserve_index=False), Path(file))
        except OSError as error:
            raise UserError(
                f"the samples cannot be written to {file} ({error.strerror}); give a file in a folder with room."
            ) from error
        return len(frame)

    def bring_in(self, file: str | Path) -> tuple[int, int]:
        """Take the samples of an exported file that are not here yet; returns how many those are, and how many the file
        has.

        UserError, and nothing taken, for a file that is damaged or no export.
        """
        try:
            frame = read_part(Path(file))
        except (pa.ArrowException, OSError, ValueError, KeyError) as error:
            raise UserError(
                f"{file} is not a whole export of a store ({str(error).splitlines()[0]}); export it again."
            ) from error
        known = self.read()
        new = frame[~frame.id.isin(known.index[known.error == ""])]
        if len(new):
            self._write(pa.Table.from_pandas(new, schema=SCHEMA, preserve_index=False))
        return len(new), len(frame)

    def contents(self) -> pd.DataFrame:
        """What is here, a row a model, role and benchmark: samples, failed ones, tokens in millions, megabytes of
        text."""
        groups = self.read().groupby(["model", "revision", "role", "benchmark"], sort=True)
        return groups.agg(
            samples=("id", "size"),
            failed=("error", lambda e: int((e != "").sum())),
            prompt=("prompt_tokens", lambda t: t.sum() / 1e6),
            completion=("completion_tokens", lambda t: t.sum() / 1e6),
            megabytes=("text", lambda t: t.str.len().sum() / 1e6),
        ).reset_index()

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
            "The part file %s is damaged (%s); it was set aside as %s and its samples will be asked for again.",
            part,
            reason,
            aside.name,
        )


def read_part(part: Path) -> pd.DataFrame:
    """The samples of a Parquet file of the store's form; ArrowException, ValueError or OSError for anything else."""
    table = pq.read_table(part, schema=SCHEMA, page_checksum_verification=True)
    if set(pq.read_schema(part).names) - set(SCHEMA.names):  # a damaged name must not pass for a column that lacks
        raise pa.ArrowInvalid("it has other columns than samples have")
    if any(table[name].null_count for name in SCHEMA.names if name not in OPTIONAL):
        raise pa.ArrowInvalid("values are missing")
    return table.to_pandas()


def write_part(table: pa.Table, part: Path) -> None:
    """Write `table` so that `part` is there whole or not at all; OSError where it cannot be."""
    partial = part.with_name(f".{part.name}.tmp")
    try:
        with partial.open("wb") as file:
            pq.write_table(table, file, compression="zstd", write_page_checksum=True)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(part)
    except OSError:
        with suppress(OSError):
            partial.unlink()
        raise

"""The store of samples: append-only Parquet parts in one folder, readable by any Parquet reader.

Each writer makes its own files, written to a temporary name and renamed, so processes and machines
never share one and a crash loses at most the samples of the last few seconds. Who reads pays for what it asks: the
frames that the store gives have every column in memory but `text`, which is read where it is looked at.
"""

import logging
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache, lru_cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO
from urllib.parse import quote

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from filelock import FileLock, Timeout
from pyarrow.fs import LocalFileSystem

from a2r.errors import UserError, first_line
from a2r.lazy import Lazy

log = logging.getLogger(__name__)

FLUSH_SECONDS = 5.0
ABANDONED_SECONDS = 3600.0  # a temporary file this old has no writer any more
GROUP_BYTES = 8 << 20  # of text in a row group, the least that is read of a part
SMALL_BYTES, MANY = 8 << 20, 64  # so many parts that are smaller than this are put into one while samples come

# One row a generated text. Nothing that can be recomputed is here: the thinking split, the extracted
# answer and its correctness are derived from `text`.
SCHEMA = pa.schema(
    {
        "id": pa.string(),  # hash of model, revision, messages, sampling, index
        "role": pa.string(),  # explorer, synthesizer, or scorer: writes nothing, its numbers are of another's text
        **dict.fromkeys(("model", "revision", "engine", "engine_version", "benchmark", "problem_id"), pa.string()),
        "set": pa.int32(),  # which set of references a synthesis read; -1 for explorers
        "explorer": pa.string(),  # whose references a synthesis read; "" for explorers
        "condition": pa.string(),  # how its reference context was made; "" for explorers
        "prompt_sha": pa.string(),
        "sampling": pa.string(),  # JSON: temperature, top_p, top_k, max_tokens, template, run seed
        "index": pa.int32(),
        "seed": pa.int64(),
        "text": pa.large_string(),
        "finish_reason": pa.string(),  # stop, length, error
        **dict.fromkeys(("prompt_tokens", "cached_tokens", "completion_tokens"), pa.int32()),
        "seconds": pa.float64(),
        "error": pa.string(),
        "time": pa.float64(),  # seconds since the epoch
        # of the tokens written, nats per token: all, the last window, the window where it is lowest (engines.log_probs)
        **dict.fromkeys(("logprob_mean", "logprob_tail", "logprob_lowest"), pa.float64()),
    }
)

# Columns in which a value may be missing, and which parts written before they were thought of lack; they read as null.
OPTIONAL = {name for name in SCHEMA.names if "logprob" in name or "tokens" in name} | {"seconds"}

CHECKED = ds.ParquetFileFormat(
    default_fragment_scan_options=ds.ParquetFragmentScanOptions(page_checksum_verification=True)
)


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
            TemporaryFile(dir=self.folder).close()
        except OSError as error:
            what = "free the folder or set another one with 'store'"
            raise UserError(f"the store {self.folder} cannot be written ({error.strerror}); {what}.") from error

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_) -> None:
        self.flush()

    def turn(self, what: str) -> FileLock:
        """Held by a process while it samples `what`, so that another one that wants the same finds it here."""
        return FileLock(self.folder / f".turn-{quote(what, safe='')}")

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
            if not self._buffer:
                return
            self._timer.cancel()
            self._write([pa.Table.from_pylist(self._buffer, schema=SCHEMA)])
            self._buffer = []
        self._tidy()

    def _write(self, tables: Iterable[pa.Table]) -> None:
        try:
            write_part(tables, self.folder / new_name())
        except OSError as error:
            what = "make room and run again: what was written is kept"
            raise UserError(f"the store {self.folder} took no more samples ({error.strerror}); {what}.") from error

    def read(self) -> pd.DataFrame:
        """All samples, one row an id; where an id was asked for again after a failure, the row that succeeded first.

        Their texts are read when they are looked at (`lazy.Lazy`).
        """
        self.flush()
        return reader(self.folder).samples()

    def _tidy(self) -> None:
        """Put small parts into one where there are many, whoever wrote them; the next flush does it if this one cannot,
        as where another process is about it.

        One on another machine may do the same at the same moment: then rows are there twice, none is lost.
        """
        with suppress(FileNotFoundError, UserError, Gone, Timeout):
            if len(self._small()) >= MANY:
                with self.turn("tidy").acquire(blocking=False):
                    if len(small := self._small()) >= MANY:  # still
                        self._put_together([Part(part) for part in sorted(small)])

    def _small(self) -> list[Path]:
        return [part for part in self.folder.glob("*.parquet") if part.stat().st_size < SMALL_BYTES]

    def _put_together(self, parts: "list[Part]") -> None:
        """Write the rows of `parts`, each once, as a new part, and only when that is on disk remove theirs."""
        self._write(whole(parts, located(parts).drop_duplicates(["id", "error", "time"])))
        for part in parts:
            with suppress(FileNotFoundError):
                part.path.unlink()

    def compact(self) -> tuple[int, int]:
        """Put all parts into one; returns how many there were and how many samples they have.

        Safe beside other processes: the old parts go only when the new one is on disk. Every row is kept but those
        that are in there twice.
        """
        self.flush()
        parts = self._undisturbed(lambda parts: len(parts) > 1 and self._put_together(parts))
        for partial in self.folder.glob(".*.tmp"):  # of writers that were killed
            if time.time() - partial.stat().st_mtime > ABANDONED_SECONDS:
                partial.unlink()
        return len(parts), len(self.read())

    def _undisturbed(self, work: Callable) -> "list[Part]":
        """`work` on all sound parts, from the start again as long as one goes meanwhile; returns them."""
        while True:
            with suppress(Gone):
                work(parts := reader(self.folder).look())
                return parts

    def verify(self) -> int:
        """Read everything, so that every damaged part is set aside; returns how many samples the sound ones have."""
        self.flush()
        parts = self._undisturbed(lambda parts: [p.group(number) for p in parts for number in range(len(p.sizes))])
        return sum(len(part.table) for part in parts)

    def export(self, file: str | Path) -> int:
        """Write all samples to one Parquet file that another store can `bring_in`; returns how many."""
        self.flush()
        try:
            self._undisturbed(lambda parts: write_part(whole(parts, reader(self.folder).rows), Path(file)))
        except OSError as error:
            what = "give a file in a folder with room"
            raise UserError(f"the samples cannot be written to {file} ({error.strerror}); {what}.") from error
        return len(reader(self.folder).rows)

    def bring_in(self, file: str | Path) -> tuple[int, int]:
        """Take the samples of an exported file that are not here yet; returns how many are new, and how many it has.

        UserError, and nothing taken, for a file that is damaged or no export.
        """
        known = self.read()
        try:
            parts = [Part(Path(file), ours=False)]
            rows = located(parts)
            new = rows[~rows.id.isin(known.index[known.error == ""])]
            if len(new):
                self._write(whole(parts, new))
        except UserError:  # there is no room here
            raise
        except (pa.ArrowException, OSError, ValueError) as error:
            said = f"{file} is not a whole export of a store ({first_line(error)}); export it again."
            raise UserError(said) from error
        return len(new), len(rows)

    def contents(self) -> pd.DataFrame:
        """What is here, a row a model, role and benchmark: samples, failed ones, tokens in millions."""
        groups = self.read().groupby(["model", "revision", "role", "benchmark"], sort=True)
        return groups.agg(
            samples=("id", "size"),
            failed=("error", lambda e: int((e != "").sum())),
            prompt=("prompt_tokens", lambda t: t.sum() / 1e6),
            completion=("completion_tokens", lambda t: t.sum() / 1e6),
        ).reset_index()


class Gone(Exception):
    """A part is there no longer: put into a larger one by another process, or set aside for its damage."""


class Part:
    """A Parquet file of the store's form: every column but `text` in memory as `table`, the texts by row group.

    Damage of a file that is `ours` sets it aside and raises Gone, as does its absence; UserError where it may be sound
    but cannot be opened. Of any other file the error is left as it is: ArrowException, ValueError or OSError.
    """

    def __init__(self, path: Path, ours: bool = True):
        self.path, self.ours = path, ours
        with self._sound():
            self.fragment = CHECKED.make_fragment(str(path), LocalFileSystem())
            names = set(self.fragment.physical_schema.names)
            if lacking := set(SCHEMA.names) - OPTIONAL - names:
                raise pa.ArrowInvalid(f"it has no column '{min(lacking)}'")
            if strange := names - set(SCHEMA.names):  # a damaged name must not pass for a column that lacks
                raise pa.ArrowInvalid(f"it has a column '{min(strange)}', which samples do not have")
            self.table = _without_gaps(self.fragment.to_table(schema=SCHEMA, columns=small().names))
            self.sizes = [group.num_rows for group in self.fragment.row_groups]

    def group(self, number: int, columns: list[str] | None = None) -> pa.Table:
        """A row group's samples, whole or these columns of them."""
        with self._sound():
            group = self.fragment.subset(row_group_ids=[number])
            return _without_gaps(group.to_table(schema=SCHEMA, columns=columns or SCHEMA.names))

    @contextmanager
    def _sound(self) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, OSError, ValueError) as error:
            if not self.ours:
                raise
            if isinstance(error, FileNotFoundError):
                raise Gone from error
            if isinstance(error, OSError) and error.errno:  # the file may be sound: no permission, too many open files
                reason = f"({os.strerror(error.errno)}); make it readable and run again"
                raise UserError(f"the part file {self.path} cannot be read {reason}.") from error
            set_aside(self.path, first_line(error))
            raise Gone from error


def _without_gaps(table: pa.Table) -> pa.Table:
    if any(table[name].null_count for name in table.column_names if name not in OPTIONAL):
        raise pa.ArrowInvalid("values are missing")
    return table


def set_aside(part: Path, reason: str) -> None:
    """Rename a damaged part, so that nobody reads it again, and say so."""
    said = f"part file {part} is damaged ({reason})"
    try:
        aside = part.rename(part.with_suffix(".damaged"))
    except FileNotFoundError:
        return  # another process was faster
    except OSError as error:
        raise UserError(f"the {said} and could not be renamed ({error.strerror}); remove it.") from error
    log.warning("The %s; it was set aside as %s and its samples will be asked for again.", said, aside.name)


def new_name() -> str:
    """A file name that no other process and no other moment gives; in the order of time."""
    return f"{time.time_ns()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.parquet"


def small() -> pa.Schema:
    """Every column but the text."""
    return SCHEMA.remove(SCHEMA.get_field_index("text"))


def located(parts: list[Part]) -> pd.DataFrame:
    """The rows of some parts without their texts, and where those lie: number of the `part`, row `group`, `row`."""
    frame = pa.concat_tables([small().empty_table(), *(part.table for part in parts)]).to_pandas()
    groups = [(i, number, size) for i, part in enumerate(parts) for number, size in enumerate(part.sizes)]
    part, group, sizes = np.array(groups, int).reshape(-1, 3).T
    rows = np.concatenate([[], *map(np.arange, sizes)]).astype(int)
    return frame.assign(part=np.repeat(part, sizes), group=np.repeat(group, sizes), row=rows)


def by_group(rows: pd.DataFrame) -> list[tuple[tuple[int, int], np.ndarray]]:
    """((part, group), positions in `rows`) of each row group that located rows lie in, in the order of the disk."""
    return sorted(rows.groupby(["part", "group"]).indices.items())


class Reader:
    """What this process has read of a folder: part files never change, and each is read once however often one asks."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.stamps: dict[tuple, Part] = {}  # by name, time of change and bytes
        self.parts: list[Part] = []
        self.rows = located([])  # one an id, which is the index
        self.derived: dict[str, tuple[set[Path], dict[tuple, tuple]]] = {}  # files that were read, and their lines
        self.looking = threading.RLock()

    def look(self) -> list[Part]:
        """Take in the parts that are there now; returns them."""
        with self.looking:  # else one thread would take for known what another has only begun to read
            return self._look()

    def _look(self) -> list[Part]:
        before, complete = list(self.stamps), False
        while not complete:
            found = {}
            with suppress(FileNotFoundError, Gone):  # one went between listing and reading: look again
                for path in sorted(self.folder.glob("*.parquet")):
                    stat = path.stat()
                    stamp = (path.name, stat.st_mtime_ns, stat.st_size)
                    found[stamp] = self.stamps[stamp] = self.stamps.get(stamp) or Part(path)
                complete = True
        if list(found) != before:
            self.stamps, self.parts = found, list(found.values())
            # two processes may have asked for one id at a time: the first that succeeded, wherever it lies by now
            rows = located(self.parts)
            order = np.lexsort((rows.time, rows.error != ""))
            rows = rows.take(np.sort(order[~rows.id.take(order).duplicated()]))
            self.rows = rows.set_index(rows.id.to_numpy(object))  # plain text: looked up often
        return self.parts

    def samples(self) -> pd.DataFrame:
        """All samples, one row an id, their texts to be read when they are looked at."""
        self.look()
        return self.rows.assign(text=Lazy(self, self.rows.index.to_numpy()))[SCHEMA.names]

    def texts(self, ids: np.ndarray) -> Iterator[tuple[int, str]]:
        """(position in `ids`, text) in the order of the disk: each row group is read once.

        A part that has gone meanwhile is looked for again; UserError where it was damaged, and the text with it.
        """
        left = np.arange(len(ids))
        while len(left):
            places = self.rows.index.get_indexer(ids[left])
            if (places < 0).any():
                lost = (places < 0).sum()
                what = "run again, and they are asked for again"
                raise UserError(f"{lost} texts of the store {self.folder} are damaged; {what}.")
            parts, rows, read = self.parts, self.rows[["part", "group", "row"]].take(places), np.zeros(len(left), bool)
            with suppress(Gone):
                for (part, group), chosen in by_group(rows):
                    texts = group_texts(parts[part], group).take(pa.array(rows.row.to_numpy()[chosen])).to_pylist()
                    read[chosen] = True
                    yield from zip(left[chosen], texts, strict=True)
            left = left[~read]
            if len(left):
                self.look()

    def kept(self, name: str, by: list[str], what: list[str]) -> dict[tuple, tuple]:
        """What `keep` has kept under a name, in this process or another, but for what is damaged: each line's values in
        the columns `what`, by those in `by`, the same at every call. Each file is read once."""
        files, lines = self.derived.setdefault(name, (set(), {}))
        for file in sorted(set((self.folder / f"_{name}").glob("*.parquet")) - files):
            with suppress(pa.ArrowException, OSError, ValueError):
                table = _derived(file)
                sides = [table.select(by).columns, table.select(what).columns]
                lines.update(
                    zip(*(zip(*map(pa.ChunkedArray.to_pylist, side), strict=True) for side in sides), strict=True)
                )
                files.add(file)
        return lines

    def keep(self, name: str, frame: pd.DataFrame) -> None:
        """Keep what was derived from samples beside them. It may go at any time: who needs it derives it again."""
        with suppress(OSError):  # who may only read derives each time
            folder, table, old = self.folder / f"_{name}", pa.Table.from_pandas(frame, preserve_index=False), []
            folder.mkdir(exist_ok=True)
            if len(files := sorted(folder.glob("*.parquet"))) >= MANY:
                for file in files:
                    with suppress(pa.ArrowException, OSError, ValueError):
                        table = pa.concat_tables([_derived(file), table], promote_options="default")
                        old.append(file)
            with appearing(folder / new_name()) as file:
                pq.write_table(table, file, compression="zstd", write_page_checksum=True)
            for file in old:
                file.unlink(missing_ok=True)


def _derived(file: Path) -> pa.Table:
    return pq.read_table(file, page_checksum_verification=True)


@lru_cache(maxsize=12)
def group_texts(part: Part, group: int) -> pa.ChunkedArray:
    """The texts of a row group; the last few are kept, as sets of paths lie side by side."""
    return part.group(group, ["text"])["text"]


@cache
def reader(folder: Path) -> Reader:
    """This process's reader of a folder."""
    return Reader(folder)


def whole(parts: list[Part], rows: pd.DataFrame) -> Iterator[pa.Table]:
    """Located rows of some parts with their texts, as tables of a row group's size; never more than that in memory."""
    tables, size = [], 0
    for (part, group), chosen in by_group(rows):
        tables.append(parts[part].group(group).take(pa.array(rows.row.to_numpy()[chosen])))
        size += tables[-1]["text"].nbytes
        if size > GROUP_BYTES:
            yield pa.concat_tables(tables)
            tables, size = [], 0
    if tables:
        yield pa.concat_tables(tables)


def write_part(tables: Iterable[pa.Table], part: Path) -> None:
    """Write `tables` so that `part` is there whole or not at all; OSError where it cannot be."""
    columns = [name for name in SCHEMA.names if name not in ("id", "text")]
    options = dict(compression="zstd", write_page_checksum=True, use_dictionary=columns)
    with appearing(part) as file, pq.ParquetWriter(file, SCHEMA, **options) as writer:
        for table in tables:
            writer.write_table(table, max(1, len(table) * GROUP_BYTES // max(1, table["text"].nbytes)))


@contextmanager
def appearing(path: Path) -> Iterator[BinaryIO]:
    """A file to write that gets its name when it is whole and on disk; nothing is left of it otherwise."""
    partial = path.with_name(f".{path.name}.tmp")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.rename(path)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise

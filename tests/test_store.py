"""Samples on disk: nothing that was written is lost, nothing damaged is believed."""

import logging
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from a2r import UserError, store
from a2r.store import SCHEMA, Store


def row(id_: str, error: str = "", **values) -> dict:
    """A sample with every column filled."""
    filled = {field.name: "x" if "string" in str(field.type) else 1 for field in SCHEMA}
    text = f"text of {id_}: " + random.Random(id_).randbytes(60).hex()
    return {**filled, "id": id_, "text": text, "error": error, "finish_reason": "error" if error else "stop", **values}


def fill(folder: Path, *ids: str) -> None:
    """Write each id as a part of its own."""
    for id_ in ids:
        with Store(folder) as samples:
            samples.add(row(id_))


def in_memory(samples: Store) -> pd.DataFrame:
    """All samples with their texts."""
    return samples.read().astype({"text": "str"})


def parts(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.parquet"))


def test_round_trip(tmp_path):
    rows = [
        row("a", text="π, \x00 and a\nnew line", cached_tokens=0),
        row("b", seed=2**63 - 1, time=0.5, text=""),
        row("c", error="e"),
    ]
    with Store(tmp_path) as samples:
        for r in rows:
            samples.add(r)
        assert samples.read().to_dict("records") == rows  # also before it is left
    again = Store(tmp_path).read()
    assert again.to_dict("records") == rows and list(again.index) == ["a", "b", "c"]
    assert pd.read_parquet(tmp_path).id.tolist() == ["a", "b", "c"], "any Parquet reader opens the folder"


def test_an_empty_store_has_the_columns(tmp_path):
    assert list(Store(tmp_path / "new").read().columns) == SCHEMA.names


def test_half_a_character_does_not_stop_the_store(tmp_path):
    with Store(tmp_path) as samples:
        samples.add(row("a", text="half \ud83d of it"))
    assert Store(tmp_path).read().text.tolist() == ["half ? of it"]


def test_parts_are_only_added(tmp_path):
    fill(tmp_path, "a", "b")
    before = {part: part.read_bytes() for part in parts(tmp_path)}
    assert len(before) == 2
    fill(tmp_path, "c")
    Store(tmp_path).read()
    assert len(parts(tmp_path)) == 3
    assert all(part.read_bytes() == content for part, content in before.items())


def test_a_part_appears_whole(tmp_path, monkeypatch):
    """While it is written it has another name; only when it is done does it get the one that is read."""
    seen = []
    write_table = store.pq.ParquetWriter.write_table

    def watched(*arguments):
        write_table(*arguments)
        seen.append((parts(tmp_path), [p.name for p in tmp_path.iterdir()], Store(tmp_path).read().id.tolist()))

    monkeypatch.setattr(store.pq.ParquetWriter, "write_table", watched)
    fill(tmp_path, "a")
    ((read, names, ids),) = seen
    assert read == [] and ids == [] and len(names) == 1 and names[0].endswith(".tmp") and names[0].startswith(".")
    assert [p.suffix for p in tmp_path.iterdir()] == [".parquet"]


def test_a_sample_waits_no_longer_than_it_may(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "FLUSH_SECONDS", 0.1)
    samples = Store(tmp_path)
    for id_ in "abc":
        samples.add(row(id_))
    deadline = time.monotonic() + 10
    while not parts(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert Store(tmp_path).read().id.tolist() == ["a", "b", "c"], "on disk although no further sample came"


def test_few_samples_share_a_part(tmp_path):
    with Store(tmp_path) as samples:
        for i in range(50):
            samples.add(row(f"id{i}"))
    assert len(parts(tmp_path)) == 1


def test_leaving_with_an_exception_keeps_the_samples(tmp_path):
    with pytest.raises(KeyboardInterrupt), Store(tmp_path) as samples:
        samples.add(row("a"))
        raise KeyboardInterrupt
    assert Store(tmp_path).read().id.tolist() == ["a"]


DAMAGES = {
    "empty": lambda raw: b"",
    "cut in half": lambda raw: raw[: len(raw) // 2],
    "end cut off": lambda raw: raw[:-1],
    "beginning cut off": lambda raw: raw[7:],
    "zeros": lambda raw: bytes(len(raw)),
    "text": lambda raw: b"this was never a part\n" * 20,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=list(DAMAGES))
def test_a_damaged_part_is_set_aside(tmp_path, damage, caplog):
    fill(tmp_path, "a", "b", "c")
    victim = parts(tmp_path)[1]
    victim.write_bytes(damage(victim.read_bytes()))
    left = victim.read_bytes()
    with caplog.at_level(logging.WARNING):
        assert Store(tmp_path).read().id.tolist() == ["a", "c"]
    (warning,) = caplog.messages
    assert str(victim) in warning and "damaged" in warning and "asked for again" in warning
    (aside,) = tmp_path.glob("*.damaged")
    assert aside.stem == victim.stem and aside.read_bytes() == left and not victim.exists()
    caplog.clear()
    assert Store(tmp_path).read().id.tolist() == ["a", "c"] and not caplog.messages, "said once"


def test_a_flipped_bit_is_never_believed(tmp_path, caplog):
    """Wherever one bit of a part is flipped, either its samples are read as they were written or it is set aside."""
    with Store(tmp_path) as samples:
        for i in range(20):
            samples.add(row(f"id{i}"))
    (part,) = parts(tmp_path)
    raw, written, rng, found = part.read_bytes(), in_memory(Store(tmp_path)), random.Random(0), 0
    for _ in range(150):
        flipped = bytearray(raw)
        flipped[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
        part.write_bytes(flipped)
        try:
            read = in_memory(Store(tmp_path))
        except UserError as error:  # a text that was looked at
            assert "20 texts" in str(error) and "run again" in str(error)
            read = in_memory(Store(tmp_path))
        if len(read):
            pd.testing.assert_frame_equal(read, written)
        else:
            found += 1
            assert not part.exists() and part.with_suffix(".damaged").read_bytes() == flipped
    assert 50 < found < 150, "most flips hit data; some hit what is of no matter"


def test_a_part_that_another_process_set_aside_is_no_error(tmp_path, monkeypatch):
    fill(tmp_path, "a")
    (part,) = parts(tmp_path)
    part.write_bytes(b"")
    rename = Path.rename

    def beaten(self, target):
        rename(self, self.with_suffix(".elsewhere"))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", beaten)
    assert Store(tmp_path).read().empty


def test_a_sound_part_that_cannot_be_opened_stays(tmp_path, monkeypatch):
    """Too many open files, no permission: that is no damage."""
    fill(tmp_path, "a")

    class Refusing:
        def make_fragment(self, *_):
            raise PermissionError(13, "Failed to open local file")

    monkeypatch.setattr(store, "CHECKED", Refusing())
    with pytest.raises(UserError, match=r"\.parquet cannot be read \(Permission denied\); make it readable"):
        Store(tmp_path).read()
    assert len(parts(tmp_path)) == 1 and not list(tmp_path.glob("*.damaged"))


@pytest.mark.parametrize("folder", ["taken", "taken/below"])
def test_a_folder_that_cannot_be_written_is_said_at_once(tmp_path, folder):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(UserError) as refused:
        Store(tmp_path / folder)
    sentence = str(refused.value)
    assert (
        str(tmp_path / folder) in sentence
        and "cannot be written" in sentence
        and "'store'" in sentence
        and "\n" not in sentence
    )


def test_a_full_disk_loses_nothing_that_was_written(tmp_path, monkeypatch):
    fill(tmp_path, "a")
    write_table = store.pq.ParquetWriter.write_table

    def full(*arguments):
        write_table(*arguments)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store.pq.ParquetWriter, "write_table", full)
    samples = Store(tmp_path)
    samples.add(row("b"))
    with pytest.raises(UserError, match=r"No space left on device.*; make room and run again"):
        samples.flush()
    assert [p.suffix for p in tmp_path.iterdir()] == [".parquet"], "no half part takes up room"
    monkeypatch.setattr(store.pq.ParquetWriter, "write_table", write_table)
    samples.flush()
    assert Store(tmp_path).read().id.tolist() == ["a", "b"], "what could not be written was kept"


def test_a_full_disk_met_by_the_timer_is_told_by_the_next_sample(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "FLUSH_SECONDS", 0.01)
    samples = Store(tmp_path)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store.pq.ParquetWriter, "write_table", full)
    samples.add(row("a"))
    samples._timer.join(10)
    with pytest.raises(UserError, match="No space left"):
        samples.add(row("b"))


@pytest.mark.parametrize("order", [("", "broken"), ("broken", ""), ("broken", "broken", "")])
def test_where_one_succeeded_the_failures_are_dropped(tmp_path, order):
    for error in order:
        with Store(tmp_path) as samples:
            samples.add(row("a", error=error, text="" if error else "found"))
            samples.add(row("b"))
    read = Store(tmp_path).read()
    assert sorted(read.id) == ["a", "b"]
    assert read.loc["a", "error"] == "" and read.loc["a", "text"] == "found"


def test_a_lasting_failure_is_one_row(tmp_path):
    for _ in range(2):
        with Store(tmp_path) as samples:
            samples.add(row("a", error="broken"))
    assert Store(tmp_path).read().error.tolist() == ["broken"]


def test_two_writers_share_a_folder(tmp_path):
    with Store(tmp_path) as one, Store(tmp_path) as two:
        for i in range(3):
            one.add(row(f"one{i}"))
            two.add(row(f"two{i}"))
            one.flush()
            assert len(two.read()) == 2 * i + 2, "each sees what the other wrote, and its own"
    assert sorted(Store(tmp_path).read().id) == ["one0", "one1", "one2", "two0", "two1", "two2"]


def same(a: pd.DataFrame, b: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(a.sort_index(), b.sort_index())  # texts too: their columns load what they compare


def test_compact_keeps_every_row_in_one_part(tmp_path):
    fill(tmp_path, *"abc")
    with Store(tmp_path) as samples:
        samples.add(row("d", error="first", time=1.0))
    with Store(tmp_path) as samples:
        samples.add(row("d", time=2.0))
    (tmp_path / ".1-2-3.parquet.tmp").write_text("of a writer that was killed")
    (tmp_path / ".4-5-6.parquet.tmp").write_text("of one that is at it")
    os.utime(tmp_path / ".1-2-3.parquet.tmp", (0, 0))
    before = Store(tmp_path).read()
    assert Store(tmp_path).compact() == (5, 4)
    assert len(parts(tmp_path)) == 1 and [p.name for p in tmp_path.glob(".*")] == [".4-5-6.parquet.tmp"]
    same(Store(tmp_path).read(), before)
    assert len(pd.read_parquet(parts(tmp_path)[0])) == 5, "the failed one is a fact too"
    assert Store(tmp_path).compact() == (1, 4)


def test_a_reader_beside_a_compaction_sees_everything(tmp_path, monkeypatch):
    """The parts go between listing and reading."""
    fill(tmp_path, *"abcd")
    real, once = store.Part, []

    def interrupted(path):
        if not once:
            once.append(path)
            Store(tmp_path).compact()
        return real(path)

    monkeypatch.setattr(store, "Part", interrupted)
    assert sorted(Store(tmp_path).read().index) == list("abcd")


def test_no_text_is_read_before_it_is_looked_at(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "GROUP_BYTES", 300)  # two texts
    with Store(tmp_path) as samples:
        for id_ in "abcdef":
            samples.add(row(id_))
    asked, group = [], store.Part.group
    monkeypatch.setattr(
        store.Part, "group", lambda self, number, *rest: asked.append(number) or group(self, number, *rest)
    )
    read = Store(tmp_path).read()
    few = read[read.id.isin(["c", "d"])].sort_values("id", ascending=False)
    assert asked == [] and len(read.text) == 6 and not read.isna()[["text", "id"]].any(axis=None)
    assert few.text.tolist() == [row("d")["text"], row("c")["text"]] and len(set(asked)) == 1, (
        "their row group, whichever was first"
    )
    assert asked == asked[:1], "and that once"
    assert read.text.tolist() == [row(id_)["text"] for id_ in "abcdef"] and sorted(asked) == [0, 1, 2]


def test_the_column_of_texts_behaves_as_one(tmp_path):
    """What the studies do with it: choose, group, join, compare, take apart."""
    here, there = tmp_path / "here", tmp_path / "there"
    fill(here, *"abc")
    fill(there, "d")
    read, texts = Store(here).read(), [row(id_)["text"] for id_ in "abcd"]
    assert [text for _, group in read.groupby("id") for text in group.text] == texts[:3]
    assert read.text.str.len().tolist() == [len(text) for text in texts[:3]]
    assert read.text.iloc[1] == read.set_index("id").text["b"] == texts[1]
    assert (read.text == texts[1]).tolist() == [False, True, False] and (read.text != "").all()
    assert list(map(str.upper, read.text)) == read.text.map(str.upper).tolist() == [text.upper() for text in texts[:3]]
    assert pd.concat([read, read]).text.tolist() == 2 * texts[:3]
    both = pd.concat([read, Store(there).read(), pd.DataFrame({"text": ["in memory"]})], ignore_index=True)
    assert both.text.tolist() == [*texts, "in memory"]
    assert read.reindex(["c", "z"]).text.isna().tolist() == [False, True]
    first = next(read.itertuples())
    assert first.text == texts[0] and read.iloc[0].text == texts[0]
    read.to_parquet(tmp_path / "saved.parquet")
    assert pd.read_parquet(tmp_path / "saved.parquet").text.tolist() == texts[:3]


def test_texts_are_found_wherever_they_lie_by_now(tmp_path):
    fill(tmp_path, *"abc")
    read = Store(tmp_path).read()
    Store(tmp_path).compact()
    assert len(parts(tmp_path)) == 1 and read.text.tolist() == [row(id_)["text"] for id_ in "abc"]


def test_small_parts_are_put_together_as_they_come(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "MANY", 5)
    ids = [f"id{i}" for i in range(23)]
    most = 0
    for id_ in ids:
        fill(tmp_path, id_)
        most = max(most, len(parts(tmp_path)))
    read = Store(tmp_path).read()
    assert most == 4 and sorted(read.id) == sorted(ids)
    assert {id_: text for id_, text in zip(read.id, read.text, strict=True)} == {id_: row(id_)["text"] for id_ in ids}


def test_parts_that_cannot_be_put_together_stay(tmp_path, monkeypatch):
    fill(tmp_path, *"abc")
    before = parts(tmp_path)

    def full(*_) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "write_part", full)
    with pytest.raises(Exception, match="No space left on device"):
        Store(tmp_path)._put_together([store.Part(part) for part in before])
    assert parts(tmp_path) == before and sorted(Store(tmp_path).read().id) == list("abc")


def test_large_parts_are_left_where_they_are(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "MANY", 3)
    monkeypatch.setattr(store, "SMALL_BYTES", 100)  # none is smaller
    fill(tmp_path, *"abcde")
    assert len(parts(tmp_path)) == 5


def test_two_that_put_the_same_parts_together_lose_nothing(tmp_path):
    fill(tmp_path, *"abc")
    mine, theirs = ([store.Part(part) for part in parts(tmp_path)] for _ in range(2))
    Store(tmp_path)._put_together(mine)
    with pytest.raises(store.Gone):
        Store(tmp_path)._put_together(theirs)
    assert sorted(Store(tmp_path).read().id) == list("abc") and not list(tmp_path.glob(".*"))


def test_of_two_answers_to_one_question_the_first_stays(tmp_path):
    """Two processes may have asked for the same sample; putting parts together must not change which one is read."""
    for text, moment in (("second", 2.0), ("first", 1.0), ("third", 3.0)):
        with Store(tmp_path) as samples:
            samples.add(row("a", text=text, time=moment))
    fill(tmp_path, "b")
    assert Store(tmp_path).read().text["a"] == "first"
    Store(tmp_path).compact()
    assert Store(tmp_path).read().text["a"] == "first" and len(pd.read_parquet(tmp_path)) == 4, "the others are kept"


# Two writers, and a third process that puts everything together, killed at a random moment, KILLS times. A writer notes
# an id when it is told that the sample is stored.
KILLED = """
import os, random, signal, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_store import row
from a2r import store
folder, kills, rng = Path(sys.argv[2]), int(sys.argv[3]), random.Random(int(sys.argv[4]))
store.MANY = 6
told = os.open(folder / "told", os.O_CREAT | os.O_APPEND | os.O_WRONLY)

def write(name):
    with store.Store(folder / "samples") as samples:
        for i in range(1_000_000):
            samples.add(row(f"{name}-{i}"))
            if i % 3 == 2:
                samples.flush()
                os.write(told, "".join(f"{name}-{i - k}\\n" for k in range(3)).encode())

def compact(_):
    while True:
        store.Store(folder / "samples").compact()

for kill in range(kills):
    children = []
    for work in (write, write, compact):
        child = os.fork()
        if not child:
            try:
                work(f"{kill}-{len(children)}")
            finally:
                os._exit(1)
        children.append(child)
    before = os.fstat(told).st_size
    while os.fstat(told).st_size == before and kill % 2:  # every other one dies before anything, perhaps
        time.sleep(0.001)
    time.sleep(rng.random() * 0.1)
    rng.shuffle(children)
    for child in children:
        os.kill(child, signal.SIGKILL)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert codes == [-9] * 3, codes
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_kills_lose_nothing_that_was_said_to_be_stored(tmp_path):
    """KILLS=100 in the environment for more of them."""
    kills = os.environ.get("KILLS", "12")
    command = [sys.executable, "-c", KILLED, str(Path(__file__).parent), str(tmp_path), kills, "0"]
    out = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1], timeout=600)
    assert out.returncode == 0, out.stderr
    told = (tmp_path / "told").read_text().split()
    folder = tmp_path / "samples"
    read = Store(folder).read()
    unfinished = list(folder.glob(".*.tmp"))
    print(f"{kills} kills: {len(told):,} told, {len(read):,} there, {len(unfinished)} unfinished parts")
    assert len(told) > 3 * int(kills) and not set(told) - set(read.id), "nothing is lost"
    assert read.text.tolist() == [row(id_)["text"] for id_ in read.id] and not list(folder.glob("*.damaged"))
    before = in_memory(Store(folder))
    Store(folder).compact()
    pd.testing.assert_frame_equal(in_memory(Store(folder)).sort_index(), before.sort_index())


def test_an_export_can_be_brought_into_another_store(tmp_path):
    here, there, file = tmp_path / "here", tmp_path / "there", tmp_path / "all.parquet"
    fill(here, *"abc")
    fill(there, "c", "d")
    assert Store(here).export(file) == 3
    assert Store(there).bring_in(file) == (2, 3)
    assert sorted(Store(there).read().index) == list("abcd")
    assert Store(there).bring_in(file) == (0, 3) and len(parts(there)) == 3
    same(Store(there).read().loc[["a", "b"]], Store(here).read().loc[["a", "b"]])


def test_a_failed_sample_is_replaced_by_an_imported_one(tmp_path):
    here, there, file = tmp_path / "here", tmp_path / "there", tmp_path / "all.parquet"
    fill(here, "a")
    with Store(there) as samples:
        samples.add(row("a", error="timeout"))
    Store(here).export(file)
    assert Store(there).bring_in(file) == (1, 1) and Store(there).read().error.tolist() == [""]


@pytest.mark.parametrize(
    "content", [b"no parquet", b"", "other columns", None], ids=["text", "empty", "columns", "missing"]
)
def test_what_is_no_export_is_refused_and_nothing_taken(tmp_path, content):
    file = tmp_path / "file.parquet"
    if content == "other columns":
        pd.DataFrame({"id": ["a"], "text": ["b"]}).to_parquet(file)
    elif content is not None:
        file.write_bytes(content)
    samples = Store(tmp_path / "store")
    with pytest.raises(UserError, match="is not a whole export of a store"):
        samples.bring_in(file)
    assert not parts(tmp_path / "store")


@pytest.mark.parametrize("kept", [True, False], ids=["optional", "required"])
def test_a_part_older_than_a_column_reads_as_null_where_it_may_lack(tmp_path, monkeypatch, kept):
    """A part from before a column was there is sound if that column is optional, and damaged if it is not."""
    fill(tmp_path, "old")
    monkeypatch.setattr(store, "SCHEMA", SCHEMA.append(pa.field("logprob", pa.float64())))
    monkeypatch.setattr(store, "OPTIONAL", {"logprob"} if kept else set())
    with Store(tmp_path) as samples:
        samples.add(row("new", logprob=-0.5))
        samples.add(row("null", logprob=None if kept else -1.0))
    read = Store(tmp_path).read().logprob
    assert read.fillna(0).to_dict() == ({"old": 0, "new": -0.5, "null": 0} if kept else {"new": -0.5, "null": -1.0})
    assert len(list(tmp_path.glob("*.damaged"))) == (not kept)
    Store(tmp_path).compact()
    assert Store(tmp_path).read().logprob.isna().sum() == 2 * kept


def test_the_contents_are_counted(tmp_path):
    with Store(tmp_path) as samples:
        samples.add(row("a", model="m", role="explorer", prompt_tokens=10, completion_tokens=100))
        samples.add(row("b", model="m", role="explorer", prompt_tokens=10, completion_tokens=300))
        samples.add(row("c", model="m", role="synthesizer", error="timeout", prompt_tokens=0, completion_tokens=0))
    table = Store(tmp_path).contents().set_index("role")
    assert table.loc["explorer", ["samples", "failed"]].tolist() == [2, 0] and table.loc["synthesizer", "failed"] == 1
    assert table.loc["explorer", ["prompt", "completion"]].tolist() == pytest.approx([2e-5, 4e-4])


def test_two_do_not_put_the_same_parts_together(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "MANY", 3)
    with Store(tmp_path).turn("tidy"):  # as another process that is about it
        fill(tmp_path, *"abcd")
        assert len(parts(tmp_path)) == 4
    fill(tmp_path, "e")
    assert len(parts(tmp_path)) == 1 and list(Store(tmp_path).read().index) == list("abcde")

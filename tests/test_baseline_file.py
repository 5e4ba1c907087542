"""The file of the baseline: whole or refused, sorted, and never short of an entry."""

import json
import multiprocessing
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_aerobust import AerobustError
from pytest_aerobust.errors import BaselineError
from pytest_aerobust.history.baseline.entries import Entry, read_baseline, update_baseline


def entry(survivors=(True, False, True), **changed):
    given = {
        "contract": {"attack": "bim", "eps": "0.3", "filter": "none"},
        "data": "d1",
        "samples": len(survivors),
        "accuracy": {"clean": 1.0, "unfiltered": round(sum(survivors) / len(survivors), 6)},
        "survivors": tuple(survivors),
    }
    return Entry(**(given | changed))


@given(st.lists(st.booleans(), min_size=1, max_size=70))
def test_an_entry_survives_json(survivors):
    """Every sample comes back, also where they fill no whole byte."""
    made = entry(survivors)
    assert Entry.from_dict(json.loads(json.dumps(made.to_dict()))) == made


def test_the_file_reads_well_in_a_diff(tmp_path):
    """Entries and fields are sorted, one a line, and a second write changes nothing."""
    path = tmp_path / "baseline.json"
    update_baseline(path, {"b": entry(), "a": entry()})
    first = path.read_text()
    assert first.index('"a": {') < first.index('"b": {')
    assert first.endswith("}\n")
    assert all(len(line) < 100 for line in first.splitlines())
    written = path.stat().st_mtime_ns
    assert not update_baseline(path, {"b": entry()})
    assert path.stat().st_mtime_ns == written


def test_entries_of_other_tests_stay(tmp_path):
    """An update touches what it measured alone; =new only what is missing."""
    path = tmp_path / "baseline.json"
    update_baseline(path, {"a": entry(), "b": entry()})
    better = entry((True, True, True))
    changes = update_baseline(path, {"b": better, "c": better}, only_new=True)
    assert (changes.new, changes.changed) == (("c",), ())
    assert read_baseline(path) == {"a": entry(), "b": entry(), "c": better}
    assert update_baseline(path, {"b": better}, unused=["a", "z"]).removed == ("a",)
    assert read_baseline(path) == {"b": better, "c": better}


def test_a_missing_file_is_an_empty_baseline(tmp_path):
    """Nothing is stored yet, and reading makes no file."""
    assert read_baseline(tmp_path / "none.json") == {}
    assert not [*tmp_path.iterdir()]


def test_every_truncation_is_refused(tmp_path):
    """A file cut anywhere is no baseline, says so, and is never written over."""
    path = tmp_path / "baseline.json"
    update_baseline(path, {"a": entry()})
    whole = path.read_bytes()
    for length in range(len(whole) - 2):  # the last two are a newline and a bracket that ends it
        path.write_bytes(whole[:length])
        with pytest.raises(BaselineError, match=r"is no baseline: .* Restore it from version"):
            read_baseline(path)
    with pytest.raises(AerobustError):
        update_baseline(path, {"b": entry()})
    assert path.read_bytes() == whole[: len(whole) - 3]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda plain: plain.update(schema=2), "its schema is 2, and this version reads 1"),
        (lambda plain: plain.pop("contracts"), "it has no contracts"),
        (lambda plain: plain["contracts"]["a"].pop("data"), "expected the fields"),
        (lambda plain: plain["contracts"]["a"].update(more=1), "expected the fields"),
        (lambda plain: plain["contracts"]["a"].update(samples=17), "don't fit 17 samples"),
        (lambda plain: plain["contracts"]["a"].update(samples="3"), "a number of samples"),
        (lambda plain: plain["contracts"]["a"].update(survivors="%"), "not in base64"),
        (lambda plain: plain["contracts"]["a"].update(survivors="/w=="), "don't fit 3 samples"),
        (lambda plain: plain["contracts"]["a"].update(accuracy=[1]), "accuracies in numbers"),
        (lambda plain: plain["contracts"].update(a=[]), "expected the fields"),
    ],
)
def test_what_was_changed_by_hand_is_refused(tmp_path, change, words):
    """Each field is looked at, and the entry that is wrong is named."""
    path = tmp_path / "baseline.json"
    update_baseline(path, {"a": entry()})
    plain = json.loads(path.read_text())
    change(plain)
    path.write_text(json.dumps(plain))
    with pytest.raises(BaselineError, match=words):
        read_baseline(path)


NAN = float("nan")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"accuracy": {"clean": 1.0, "unfiltered": 0.333333}}, "0.333333, but 2 of 3 survive"),
        ({"accuracy": {"clean": 1.0, "unfiltered": NAN}}, "unfiltered is nan, a share that none"),
        ({"accuracy": {"clean": NAN, "unfiltered": 0.666667}}, "clean is nan"),
        ({"accuracy": {"clean": float("inf"), "unfiltered": 0.666667}}, "clean is inf"),
        ({"accuracy": {"clean": 1.5, "unfiltered": 0.666667}}, "clean is 1.5"),
        ({"accuracy": {"clean": True, "unfiltered": 0.666667}}, "accuracies in numbers"),
        ({"accuracy": {"clean": 0.333333, "unfiltered": 0.666667}}, "clean 0.333333 .* below"),
        (
            {"accuracy": {"clean": 0.7, "unfiltered": 0.666667}},
            "clean is 0.7, a share that none of 3",
        ),
        ({"accuracy": {"unfiltered": 0.666667}}, "accuracies of clean, unfiltered"),
        ({"accuracy": {"clean": 1.0, "unfiltered": 0.666667, "more": 1.0}}, "accuracies of clean"),
        ({"accuracy": {"clean": 1.0, "unfiltered": 0.3, "filtered": 0.666667}}, "of clean, unfil"),
        ({"contract": {"filter": "on"}}, "accuracies of clean, filtered, unfiltered"),
        ({"samples": True}, "a number of samples"),
        ({"samples": NAN}, "a number of samples"),
        ({"samples": 4}, "unfiltered is 0.666667, a share that none of 4"),
        ({"survivors": "gA=="}, "but 1 of 3 survive"),
        ({"survivors": "oB=="}, "survivors are not as they are written here"),
        ({"survivors": "oAA="}, "survivors hold 16 bits, which don't fit 3 samples"),
        ({"survivors": "sA=="}, "survivors hold 8 bits, which don't fit 3 samples"),
        ({"survivors": "é"}, "not in base64"),
    ],
)
def test_an_entry_that_contradicts_itself_is_refused(tmp_path, change, words):
    """Counts, bits and accuracies say the same, or nobody knows what was measured."""
    path = tmp_path / "baseline.json"
    update_baseline(path, {"a": entry()})
    plain = json.loads(path.read_text())
    plain["contracts"]["a"] |= change
    path.write_text(json.dumps(plain, indent=2))
    before = path.read_bytes()
    with pytest.raises(BaselineError, match=rf"the entry of 'a' \(line 4\) is none: .*({words})"):
        read_baseline(path)
    with pytest.raises(BaselineError):
        update_baseline(path, {"b": entry()})
    assert path.read_bytes() == before


def test_all_that_is_written_is_read(tmp_path):
    """Also counts whose shares no decimal number holds exactly, with a filter and without."""
    path = tmp_path / "baseline.json"
    for count in (1, 7, 49, 60_000):
        survivors = tuple(number % 3 > 0 for number in range(count))
        share = round(sum(survivors) / count, 6)
        filtered = entry(
            survivors,
            contract={"filter": "on"},
            accuracy={"clean": 1.0, "unfiltered": 0.0, "filtered": share},
        )
        update_baseline(path, {"a": entry(survivors), "b": filtered})
        assert read_baseline(path)["b"] == filtered


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"b": {', '"a": {', "'a' stands there twice, in line 4 and line 18"),
        ('"samples": 3', '"samples": 3,\n      "samples": 4', "'samples' stands there twice"),
        ('"schema": 1', '"schema": 1,\n  "schema": 1', "'schema' stands there twice"),
        ('"eps": "0.3"', '"eps": "0.3", "eps": "0.1"', "'eps' stands there twice"),
    ],
)
def test_what_stands_there_twice_is_refused(tmp_path, old, new, words):
    """JSON takes the last one in silence: a merge may have kept both."""
    path = tmp_path / "baseline.json"
    update_baseline(path, {"a": entry(), "b": entry((True, True, False))})
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(BaselineError, match=f"is no baseline: .*{words}"):
        read_baseline(path)


def test_a_name_that_nobody_could_write_is_refused(tmp_path):
    """Half a surrogate pair is read by JSON, and by no file."""
    path = tmp_path / "baseline.json"
    update_baseline(path, {"a": entry()})
    path.write_text(path.read_text().replace('"a": {', '"\\ud800": {'))
    with pytest.raises(BaselineError, match="surrogates not allowed"):
        read_baseline(path)


@pytest.mark.parametrize("content", [b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b"NaN"])
def test_other_files_are_refused(tmp_path, content):
    """What was never a baseline is no baseline."""
    path = tmp_path / "baseline.json"
    path.write_bytes(content)
    with pytest.raises(BaselineError, match="is no baseline"):
        read_baseline(path)


def _store(path, names):
    for name in names:
        update_baseline(path, {name: entry()})


def test_two_writers_lose_nothing(tmp_path):
    """Runs that write at the same time add up (BAD INPUTS 5.28)."""
    path = tmp_path / "baseline.json"
    context = multiprocessing.get_context("fork")
    names = [[f"{writer}-{number}" for number in range(15)] for writer in range(3)]
    writers = [context.Process(target=_store, args=(path, mine)) for mine in names]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert read_baseline(path).keys() == {name for mine in names for name in mine}


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_refuses(tmp_path):
    """Where nothing can be written the old file stays, and the reason comes up."""
    path = tmp_path / "baseline.json"
    update_baseline(path, {"a": entry()})
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(OSError, match="Permission"):
        update_baseline(path, {"b": entry()})
    assert read_baseline(path) == {"a": entry()}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a full device")
def test_a_full_disk(tmp_path, monkeypatch):
    """A write that fails in its middle leaves the old file."""
    path = tmp_path / "baseline.json"
    update_baseline(path, {"a": entry()})
    write = Path.write_text

    def to_a_full_disk(self, text, **options):
        if self.suffix == ".tmp":
            write(self, text[:100], **options)
            return write(Path("/dev/full"), text, **options)
        return write(self, text, **options)

    monkeypatch.setattr(Path, "write_text", to_a_full_disk)
    with pytest.raises(OSError, match="No space left"):
        update_baseline(path, {"b": entry()})
    monkeypatch.undo()
    assert read_baseline(path) == {"a": entry()}
    assert {each.name for each in tmp_path.iterdir()} <= {"baseline.json", ".baseline.json.lock"}

"""The cache's files: an entry comes back as it was put, or not at all."""

import json
import multiprocessing
import os
import time
from pathlib import Path

import pytest

from pytest_aerobust.history.cache.store import LARGEST_ENTRY, Cache

VALUE = {"evaluation": {"outcomes": "ssbb-"}, "weighed": True}


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "kept")


def file_of(cache, tmp_path):
    (path,) = (tmp_path / "kept").glob("*.json")
    return path


def test_what_was_put_comes_back(cache, tmp_path):
    """Also to another process's cache on the same folder; under another key there is nothing."""
    assert cache.get("a1") is None
    cache.put("a1", VALUE)
    assert Cache(tmp_path / "kept").get("a1") == VALUE
    assert cache.get("a2") is None


def test_every_flipped_bit_is_seen(cache, tmp_path):
    """No bit of an entry can change without the entry being dropped."""
    cache.put("a1", VALUE)
    path = file_of(cache, tmp_path)
    whole = path.read_bytes()
    for place in range(len(whole)):
        for bit in range(8):
            changed = bytearray(whole)
            changed[place] ^= 1 << bit
            path.write_bytes(changed)
            assert cache.get("a1") is None
    path.write_bytes(whole)
    assert cache.get("a1") == VALUE


def test_every_truncation_is_seen(cache, tmp_path):
    """A half-written file is no entry, and is written over by the next result."""
    cache.put("a1", VALUE)
    path = file_of(cache, tmp_path)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert cache.get("a1") is None
    cache.put("a1", VALUE)
    assert cache.get("a1") == VALUE


def test_a_file_under_another_name_is_another_entry(cache, tmp_path):
    """Whoever renames an entry does not make it the answer to another question."""
    cache.put("a1", VALUE)
    path = file_of(cache, tmp_path)
    path.rename(path.with_name("a2.json"))
    assert cache.get("a2") is None


def test_a_file_that_is_too_large_is_not_read(cache, tmp_path):
    """Nothing that large was written here."""
    cache.put("a1", VALUE)
    path = file_of(cache, tmp_path)
    with path.open("ab") as file:
        file.truncate(LARGEST_ENTRY + 1)
    assert cache.get("a1") is None


def test_a_folder_that_refuses(tmp_path):
    """Where nothing can be written the run goes on, and the reason is kept for it."""
    (tmp_path / "kept").write_text("a file in the folder's place")
    cache = Cache(tmp_path / "kept")
    cache.put("a1", VALUE)
    assert "can't be written" in cache.trouble
    assert cache.get("a1") is None
    cache.trim()


def test_the_oldest_go_first(cache, tmp_path):
    """What was asked for lately stays; what is left has at most the bytes it may."""
    for key in ("a1", "a2", "a3"):
        cache.put(key, VALUE)
    size = file_of_size(tmp_path)
    for age, key in ((30, "a1"), (20, "a2"), (10, "a3")):
        stamp = time.time() - age
        os.utime(tmp_path / "kept" / f"{key}.json", (stamp, stamp))
    assert cache.get("a1") == VALUE  # asked for now
    cache.trim(most=2 * size)
    assert cache.get("a2") is None
    assert cache.get("a1") == cache.get("a3") == VALUE


def file_of_size(tmp_path):
    return (tmp_path / "kept" / "a1.json").stat().st_size


def test_temporary_files_of_the_dead_go(cache, tmp_path):
    """An hour after a writer was killed nobody misses its file; a younger one may be in use."""
    cache.put("a1", VALUE)
    old, young = (tmp_path / "kept" / f".a1.{name}.tmp" for name in ("old", "young"))
    for path in (old, young):
        path.write_text("half")
    os.utime(old, (time.time() - 7200,) * 2)
    cache.trim()
    assert not old.exists()
    assert young.exists()


def _write(folder, values):
    cache = Cache(folder)
    for value in values:
        cache.put("a1", {"value": "x" * value})


def test_two_writers_of_one_entry(tmp_path):
    """Whoever reads meanwhile gets one of the values, whole."""
    folder = tmp_path / "kept"
    context = multiprocessing.get_context("fork")
    writers = [
        context.Process(target=_write, args=(folder, range(start, 200, 2))) for start in (0, 1)
    ]
    for writer in writers:
        writer.start()
    cache, seen = Cache(folder), set()
    while any(writer.is_alive() for writer in writers):
        value = cache.get("a1")
        seen.add(None if value is None else value["value"].strip("x"))
    assert seen <= {None, ""}
    assert cache.get("a1")["value"].startswith("x")


def test_a_full_disk(cache, tmp_path, monkeypatch):
    """The old entry stays, no temporary file is left, and the reason is kept."""
    if not Path("/dev/full").exists():
        pytest.skip("needs a full device")
    cache.put("a1", VALUE)
    write = Path.write_bytes

    def to_a_full_disk(self, content):
        write(self, content[:10])
        return write(Path("/dev/full"), content)

    monkeypatch.setattr(Path, "write_bytes", to_a_full_disk)
    cache.put("a1", {"other": 1})
    monkeypatch.undo()
    assert "No space left" in cache.trouble
    assert cache.get("a1") == VALUE
    assert [path.suffix for path in (tmp_path / "kept").iterdir()] == [".json"]


def test_an_entry_is_plain_text(cache, tmp_path):
    """A line with the digest, and JSON: nothing that could run code."""
    cache.put("a1", VALUE)
    digest, content = file_of(cache, tmp_path).read_text().split("\n")
    assert len(digest) == 64
    assert json.loads(content) == VALUE

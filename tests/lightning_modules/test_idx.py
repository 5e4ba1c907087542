import gzip
from dataclasses import replace
from hashlib import sha256

import pytest
import torch

from lightning_modules.datasets import FashionMNIST
from lightning_modules.errors import BrokenSourceError, SourceAbsentError
from lightning_modules.idx import Published

CONTENT = bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3]) + bytes(range(6))
PACKED = gzip.compress(CONTENT)
UNREACHABLE = "http://127.0.0.1:9/"  # the discard port: nothing answers

BROKEN = {
    "a web page": (b"\n<!DOCTYPE html><title>Moved</title>", "a web page"),
    "a pointer": (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    "empty": (b"", "empty"),
    "unpacked": (CONTENT, "begins with"),
    "truncated": (PACKED[:-10], "cut short"),
    "damaged": (PACKED[:14] + b"\xff\xff\xff" + PACKED[17:], "damaged gzip|cut short"),
    "another content": (gzip.compress(CONTENT[:-1] + b"\0"), "expected SHA-256 .* came"),
}


def tiny(*mirrors: str, **places) -> Published:
    return Published("tiny", {"two": sha256(CONTENT).hexdigest()}, mirrors, **places)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty download cache, and no folder named."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("AEROBUST_DATA_DIR", raising=False)
    return tmp_path / "cache" / "pytest-aerobust" / "tiny"


@pytest.fixture
def named(tmp_path, monkeypatch):
    """The subfolder for the data set in the folder that AEROBUST_DATA_DIR names."""
    monkeypatch.setenv("AEROBUST_DATA_DIR", str(tmp_path / "named"))
    (tmp_path / "named" / "tiny").mkdir(parents=True)
    return tmp_path / "named" / "tiny"


class TestFolders:
    def test_the_named_one_comes_first(self, named, tmp_path):
        """AEROBUST_DATA_DIR wins over an installed package, and nothing is downloaded."""
        (named / "two.gz").write_bytes(PACKED)
        numbers = tiny(UNREACHABLE, package_folder=tmp_path / "installed").read("two")
        assert numbers.dtype == torch.uint8
        assert numbers.tolist() == [[0, 1, 2], [3, 4, 5]]

    def test_another_packing_of_the_same_content_is_believed(self, named):
        """Mirrors pack anew; only what is inside is published."""
        (named / "two.gz").write_bytes(gzip.compress(CONTENT, compresslevel=1, mtime=7))
        assert tiny().read("two").shape == (2, 3)

    def test_the_package_comes_before_a_download(self, tmp_path):
        """What a system package installed needs no network."""
        (tmp_path / "two.gz").write_bytes(PACKED)
        assert tiny(UNREACHABLE, package_folder=tmp_path).read("two").shape == (2, 3)

    @pytest.mark.parametrize("kind", BROKEN)
    def test_a_broken_file_is_an_error_and_not_passed_over(self, named, mirror, kind):
        """A good copy on a mirror must not hide that the named folder is broken."""
        url, served = mirror
        (served / "two.gz").write_bytes(PACKED)
        content, reason = BROKEN[kind]
        (named / "two.gz").write_bytes(content)
        with pytest.raises(BrokenSourceError, match=f"two.gz .*({reason})(.|\n)*AEROBUST_DATA_DIR"):
            tiny(url).read("two")

    def test_a_file_that_is_lacking_is_an_error(self, named):
        """Half a data set is a mistake, and the message names the file."""
        with pytest.raises(SourceAbsentError, match=r"lacks two\.gz"):
            tiny(UNREACHABLE).read("two")

    def test_a_named_folder_that_does_not_exist_is_an_error(self, monkeypatch):
        """A typo in the variable must not end in a silent download."""
        monkeypatch.setenv("AEROBUST_DATA_DIR", "/no/such/folder")
        with pytest.raises(SourceAbsentError, match="'/no/such/folder', which is not a folder"):
            tiny(UNREACHABLE).read("two")


class TestDownload:
    def test_is_made_once_and_kept(self, mirror, cache):
        """The second reading finds the file in the cache, with the server's copy gone."""
        url, served = mirror
        (served / "two.gz").write_bytes(PACKED)
        first = tiny(url).read("two")
        (served / "two.gz").unlink()
        assert torch.equal(tiny(url).read("two"), first)
        assert [path.name for path in cache.iterdir()] == ["two.gz"]

    def test_goes_on_to_the_next_mirror(self, mirror):
        """A mirror that is down, or has no such file, is no error while another has it."""
        url, served = mirror
        (served / "two.gz").write_bytes(PACKED)
        assert tiny(UNREACHABLE, f"{url}gone/", url).read("two").shape == (2, 3)

    @pytest.mark.parametrize("kind", BROKEN)
    def test_of_something_else_is_refused_and_not_kept(self, mirror, cache, kind):
        """Whatever a mirror sends instead, the cache stays empty and the reason is told."""
        url, served = mirror
        content, reason = BROKEN[kind]
        (served / "two.gz").write_bytes(content)
        with pytest.raises(SourceAbsentError, match=reason):
            tiny(url).read("two")
        assert list(cache.iterdir()) == []

    def test_that_fails_everywhere_names_mirrors_and_ways_out(self):
        """Every mirror with its own reason, then the variable, the package and the network."""
        data = tiny(UNREACHABLE, "http://127.0.0.1:9/second/", package="dataset-tiny")
        with pytest.raises(SourceAbsentError) as caught:
            data.read("two")
        for part in (UNREACHABLE, "second", "AEROBUST_DATA_DIR", "dataset-tiny", "network"):
            assert part in str(caught.value)

    def test_that_was_damaged_later_is_an_error(self, mirror, cache):
        """The content is checked at each reading, not only when it came."""
        url, served = mirror
        (served / "two.gz").write_bytes(PACKED)
        tiny(url).read("two")
        (cache / "two.gz").write_bytes(PACKED[:-9])
        with pytest.raises(BrokenSourceError, match=r"cut short .*Replace or delete it"):
            tiny(url).read("two")

    def test_of_a_whole_data_set_goes_through_its_data_module(self, mirror, monkeypatch, tmp_path):
        """`prepare_data` fetches from the mirrors of the class, and the error is ours."""
        url, _ = mirror
        absent = replace(FashionMNIST.published, mirrors=(url,), package_folder=tmp_path / "no")
        monkeypatch.setattr(FashionMNIST, "published", absent)
        with pytest.raises(SourceAbsentError, match=r"train-images.*dataset-fashion-mnist"):
            FashionMNIST().prepare_data()

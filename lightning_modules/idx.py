"""Published data sets as gzipped IDX files: where they are found, and that they are the real ones.

A file is believed by the SHA-256 of its *unpacked* content: mirrors pack the same content anew,
so that hashes of the packed files differ from one to the next.
"""

import gzip
import os
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lightning_modules.errors import BrokenSourceError, SourceAbsentError
from lightning_modules.extra import pooch
from lightning_modules.files import written_whole

DATA_DIR = "AEROBUST_DATA_DIR"
"""Environment variable: a folder of data sets, looked at before everything else."""

_TIMEOUT = 30  # seconds until a mirror that says nothing is given up


@dataclass(frozen=True)
class Published:
    """A data set of IDX files, as published.

    Attributes:
        name: its folder below ``AEROBUST_DATA_DIR`` and below the download cache.
        hashes: from file names (without ``.gz``) to the SHA-256 of their unpacked content.
        mirrors: addresses of folders that hold the files, tried in this order; each ends in ``/``.
        package: the system package that installs the files, if there is one.
        package_folder: where it does.
    """

    name: str
    hashes: Mapping[str, str]
    mirrors: tuple[str, ...]
    package: str | None = None
    package_folder: Path | None = None

    def read(self, file: str) -> Tensor:
        """The verified numbers of one file: uint8, of the shape that its header states.

        Raises:
            SourceAbsentError: no folder has the file and no mirror gave it.
            BrokenSourceError: the file found is not the published one.
        """
        path = self.find(file)
        try:
            return parsed(unpacked(path, self.hashes[file]))
        except BrokenSourceError as error:
            raise BrokenSourceError(f"{error}. Replace or delete it. {self._advice()}") from error

    def find(self, file: str) -> Path:
        """The packed file, downloaded (and verified) where no folder holds the data set.

        The first of: the subfolder `name` of the folder that ``AEROBUST_DATA_DIR`` names, the
        system package's folder, the download cache, the mirrors. The first folder that exists
        decides: a file that it lacks is not looked for further on.

        Raises:
            SourceAbsentError: that folder lacks the file, or no mirror gave it.
        """
        packed = f"{file}.gz"
        folder = next(self._folders(), None)
        if folder is None:
            cached = Path(pooch.os_cache("pytest-aerobust")) / self.name / packed
            return cached if cached.is_file() else self._downloaded(file, cached)
        if not (folder / packed).is_file():
            raise SourceAbsentError(f"{folder} lacks {packed}. {self._advice()}")
        return folder / packed

    def _folders(self) -> Iterator[Path]:
        folders = [self.package_folder] if self.package_folder else []
        if named := os.environ.get(DATA_DIR):
            if not Path(named).is_dir():
                raise SourceAbsentError(f"{DATA_DIR} names {named!r}, which is not a folder")
            folders.insert(0, Path(named) / self.name)
        return (folder for folder in folders if folder.is_dir())

    def _downloaded(self, file: str, cached: Path) -> Path:
        failures = []
        for mirror in self.mirrors:
            try:
                return self._download(f"{mirror}{file}.gz", self.hashes[file], cached)
            except (OSError, BrokenSourceError) as error:  # requests' errors are OSErrors
                failures.append(f"  {mirror}: {error}")
        raise SourceAbsentError(
            "\n".join([f"no mirror gave {file}.gz of {self.name}. {self._advice()}", *failures])
        )

    def _download(self, url: str, expected: str, cached: Path) -> Path:
        with written_whole(cached) as temporary:
            pooch.HTTPDownloader(timeout=_TIMEOUT, chunk_size=1 << 16)(url, str(temporary), None)
            unpacked(temporary, expected)
        return cached

    def _advice(self) -> str:
        install = f", install the system package {self.package}" if self.package else ""
        return (
            f"Set {DATA_DIR} to a folder whose subfolder {self.name} holds the four gzipped IDX "
            f"files{install}, or check the network"
        )


def unpacked(path: Path, expected: str) -> bytes:
    """The unpacked content of a gzip file whose content has the SHA-256 ``expected``.

    Raises:
        BrokenSourceError: it is no gzip file, it is cut short or damaged, or its content is
            another.
    """
    packed = path.read_bytes()
    if not packed.startswith(b"\x1f\x8b"):
        raise BrokenSourceError(f"{path.name} should be a gzip file, but it is {_seen(packed)}")
    try:
        content = gzip.decompress(packed)
    except EOFError as error:
        raise BrokenSourceError(f"{path.name} is cut short after {len(packed)} bytes") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise BrokenSourceError(f"{path.name} is a damaged gzip file: {error}") from error
    came = sha256(content).hexdigest()
    if came != expected:
        raise BrokenSourceError(
            f"{path.name} does not hold the published content: expected SHA-256 {expected} of the "
            f"unpacked bytes, came {came}"
        )
    return content


def parsed(content: bytes) -> Tensor:
    """The array of an IDX file of unsigned bytes, of the shape in its header.

    The format: two zero bytes, the type (8 for unsigned bytes), the number of dimensions, each
    dimension as a big-endian 32-bit integer, then the numbers in row-major order.
    """
    dimensions = content[3]
    shape = np.frombuffer(content, ">u4", count=dimensions, offset=4)
    numbers = np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions)
    return torch.from_numpy(numbers.reshape(shape).copy())  # torch wants memory it may write to


def _seen(packed: bytes) -> str:
    if not packed:
        return "empty"
    if packed.lstrip().startswith(b"<"):
        return "a web page"
    if packed.startswith(b"version https://git-lfs"):
        return "a git-lfs pointer (fetch the file itself with `git lfs pull`)"
    return f"something that begins with {packed[:8]!r}"

"""What the tests of `lightning_modules` share: real data where it is, a mirror on this machine."""

import os
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import pytorch_lightning as pl
from torch import Tensor

from lightning_modules.autoencoders import VARIANTS, Autoencoder
from lightning_modules.datasets import Digits
from lightning_modules.idx import Published
from lightning_modules.training import fit_or_load


@pytest.fixture
def has_data() -> Callable[[Published], bool]:
    """Whether a data set is in a folder of this machine, so that nothing has to be downloaded."""
    named = os.environ.get("AEROBUST_DATA_DIR")

    def has_data(published: Published) -> bool:
        places = [named and Path(named) / published.name, published.package_folder]
        return any(place and place.is_dir() for place in places)

    return has_data


@pytest.fixture(scope="session")
def on_digits(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Autoencoder]:
    """A variant by name, trained on the digits: once in a session for the same options."""
    folder = tmp_path_factory.mktemp("autoencoders")

    def on_digits(name: str, max_epochs: int = 30, **options: object) -> Autoencoder:
        build = partial(VARIANTS[name], (1, 8, 8), 64, learning_rate=3e-3, **options)
        return fit_or_load(build, Digits(), folder=folder, max_epochs=max_epochs)

    return on_digits


@pytest.fixture(scope="session")
def digits() -> Tensor:
    """The 360 test images of the digits."""
    return Digits().test_arrays()[0]


@pytest.fixture
def trainer() -> pl.Trainer:
    """Of one epoch, silent, that writes nothing."""
    return pl.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


class _Silent(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass  # its requests are no part of a test's output


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Path]]:
    """The address of a server on this machine, and the empty folder that it serves."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    folder = tmp_path / "served"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Silent, directory=folder)) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/", folder
        server.shutdown()

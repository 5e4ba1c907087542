import importlib
import sys
from functools import partial

import pytest
import pytorch_lightning as pl
import torch

from lightning_modules.autoencoders import VanillaAutoencoder
from lightning_modules.classifiers import SoftmaxRegression
from lightning_modules.datasets import Digits
from lightning_modules.errors import UnkeyedError
from lightning_modules.fingerprint import description, digest, weights_digest


def regression(**options) -> SoftmaxRegression:
    torch.manual_seed(0)
    return SoftmaxRegression((1, 8, 8), 10, **options)


def key(module=None, data=None, training=None, also=None) -> str:
    return digest(description(module or regression(), data or Digits(), training or {}, also or {}))


class TestKey:
    def test_is_the_same_for_the_same_training(self):
        """Built anew, everything equal: one key."""
        assert key() == key()

    @pytest.mark.parametrize(
        "other",
        [
            {"module": partial(regression, learning_rate=1e-2)},
            {"data": partial(Digits, batch_size=64)},
            {"data": partial(Digits, seed=1)},
            {"training": partial(dict, max_epochs=2)},
            {"also": partial(dict, eps=0.3)},
        ],
        ids=["hyperparameter", "batch-size", "split", "epochs", "also"],
    )
    def test_changes_with_everything_that_shapes_the_weights(self, other):
        """One difference, another key."""
        assert key(**{name: make() for name, make in other.items()}) != key()

    def test_changes_with_the_initial_weights(self):
        """A module that starts from other weights is another training, same arguments or not."""
        module = regression()
        with torch.no_grad():
            module.network[1].bias[3] += 1e-6
        assert key(module) != key()

    def test_holds_the_code_of_bases_tables_and_submodules(self):
        """For an autoencoder: its file, the template's, and those of activations and losses."""
        sources = description(VanillaAutoencoder((4,), 3, 2), Digits(), {}, {})["sources"]
        package = "lightning_modules.autoencoders"
        assert {f"{package}.{n}" for n in ("vanilla", "base", "activations", "losses")} <= set(
            sources
        )
        assert "lightning_modules.datasets" in sources
        assert not any(name.startswith(("torch", "pytorch_lightning")) for name in sources)


class TestOfUserCode:
    MODEL = """
        import pytorch_lightning as pl
        from . import settings
        class Model(pl.LightningModule):
            def loss(self): return settings.SCALE
    """

    @pytest.fixture
    def write(self, tmp_path, monkeypatch):
        """Writes a package of two files and imports it afresh: (model, settings) -> Model()."""
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setattr(sys, "dont_write_bytecode", True)

        def write(model: str, settings: str) -> pl.LightningModule:
            for name, text in {"__init__": "", "model": model, "settings": settings}.items():
                (tmp_path / "keyed").mkdir(exist_ok=True)
                lines = "\n".join(line[8:] for line in text.splitlines())
                (tmp_path / "keyed" / f"{name}.py").write_text(lines)
            for name in [name for name in sys.modules if name.partition(".")[0] == "keyed"]:
                del sys.modules[name]
            importlib.invalidate_caches()
            return importlib.import_module("keyed.model").Model()

        yield write
        for name in [name for name in sys.modules if name.partition(".")[0] == "keyed"]:
            del sys.modules[name]

    def test_changes_with_a_file_that_the_class_imports(self, write):
        """A constant in a neighbouring file shapes the loss as much as the class does."""
        before = key(write(self.MODEL, "        SCALE = 1"))
        assert key(write(self.MODEL, "        SCALE = 1")) == before
        assert key(write(self.MODEL, "        SCALE = 2")) != before

    def test_changes_with_the_code_of_the_class_but_not_with_a_comment(self, write):
        """Another layout trains nothing anew; another statement does."""
        before = key(write(self.MODEL, "        SCALE = 1"))
        assert key(write(self.MODEL + "        # why", "        SCALE = 1")) == before
        assert key(write(self.MODEL.replace("SCALE", "SCALE + 1"), "        SCALE = 1")) != before


class TestRefuses:
    def test_an_argument_that_is_told_nowhere(self):
        """A constructor that keeps an argument to itself would make stale weights look right."""

        class Forgetful(pl.LightningModule):
            def __init__(self, temperature: float) -> None:
                super().__init__()

        with pytest.raises(UnkeyedError, match=r"takes temperature, .*save_hyperparameters"):
            key(Forgetful(2.0))
        assert key(Forgetful(2.0), also={"temperature": 2.0})

    def test_a_value_that_is_not_plain(self):
        """A callable can't be told from another; the message says where it is and what to do."""

        class Attacked(pl.LightningModule):
            def __init__(self, attack: object) -> None:
                super().__init__()
                self.save_hyperparameters()

        with pytest.raises(UnkeyedError, match=r"Attacked.attack is a function.*`also`"):
            key(Attacked(lambda x: x))

    def test_a_class_that_was_read_from_no_file(self):
        """What was typed into a session has no source to compare later."""
        typed = type("Typed", (pl.LightningModule,), {"__module__": "typed_nowhere"})
        with pytest.raises(UnkeyedError, match="typed_nowhere, which was not read from a source"):
            key(typed())


def test_weights_digest_sees_names_types_and_shapes():
    """The same bytes under another name, type or shape are other weights; any type works."""
    zero = torch.zeros(2, 2)
    variants = [
        {"a": zero}, {"b": zero}, {"a": zero.reshape(4)}, {"a": zero.int()},
        {"a": torch.zeros(2, 2, 2, dtype=torch.bfloat16)}, {"a": torch.tensor(0.0)}, {},
    ]  # fmt: skip
    assert len({weights_digest(weights) for weights in variants}) == len(variants)

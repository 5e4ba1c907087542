import importlib
import json
import os
import random
import signal
import subprocess
import sys
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from lightning_modules.classifiers import SoftmaxRegression
from lightning_modules.datasets import Digits
from lightning_modules.errors import (
    DivergedError,
    MismatchedCheckpointError,
    UnreadableCheckpointError,
)
from lightning_modules.training import fit_or_load

ROOT = Path(__file__).parents[2]
trainings = []


class Counted(SoftmaxRegression):
    """Tells when it is really trained."""

    def on_fit_start(self) -> None:
        trainings.append(self)


@pytest.fixture(autouse=True)
def _from_zero():
    trainings.clear()


@pytest.fixture
def train(tmp_path):
    """`fit_or_load` of one epoch in a folder of this test, unless told otherwise."""

    def train(learning_rate: float = 1e-3, **options) -> Counted:
        build = partial(Counted, (1, 8, 8), 10, learning_rate=learning_rate)
        return fit_or_load(build, Digits(512), **{"folder": tmp_path, "max_epochs": 1} | options)

    return train


def files(folder: Path, ending: str) -> list[Path]:
    return [path for path in folder.iterdir() if path.name.endswith(ending)]


def same(one: pl.LightningModule, other: pl.LightningModule) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


class TestFitOrLoad:
    def test_trains_once_and_then_loads(self, train):
        """The second call gives the same weights without a training, in eval mode as the first."""
        first, second = train(), train()
        assert len(trainings) == 1
        assert same(first, second)
        assert not first.training
        assert not second.training

    def test_really_trains(self, train):
        """Ten epochs on the digits beat chance by far."""
        x, y = Digits().test_arrays()
        model = train(learning_rate=1e-2, max_epochs=10)
        assert (model(x).argmax(1) == y).float().mean() > 0.5

    def test_gives_the_same_weights_for_the_same_seed(self, train, tmp_path):
        """In another folder, after other random numbers were drawn; another seed differs."""
        first = train()
        torch.rand(7)
        assert same(first, train(folder=tmp_path / "other"))
        assert not same(first, train(seed=1))
        assert len(trainings) == 3

    @pytest.mark.parametrize(
        "change", [{"max_epochs": 2}, {"learning_rate": 0.1}, {"also": {"noise": 1}}, {"seed": 5}]
    )
    def test_trains_anew_when_anything_changes(self, train, change):
        """No stale weights: another training has other files."""
        train()
        train(**change)
        assert len(trainings) == 2

    def test_leaves_the_random_state_as_it_was(self, train):
        """Of Python, NumPy and torch, whether it trains or loads."""
        states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
        for _ in range(2):
            train()
            assert random.getstate() == states[0]
            assert np.random.get_state()[1].tolist() == states[1]
            assert torch.equal(torch.get_rng_state(), states[2])

    @pytest.mark.parametrize("outer", [torch.no_grad, torch.inference_mode])
    def test_trains_inside_a_block_without_gradients(self, train, outer):
        """And what it gives can pass gradients on, as an attack needs it."""
        with outer():
            model = train()
        x = torch.rand(2, 1, 8, 8, requires_grad=True)
        assert torch.autograd.grad(model(x).sum(), x)[0].abs().sum() > 0

    def test_is_silent_and_litters_nothing(self, train, tmp_path, monkeypatch, capfd):
        """No bar, no hint, no warning, and no folder of logs where a test happens to run."""
        (tmp_path / "cwd").mkdir()
        monkeypatch.chdir(tmp_path / "cwd")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            # Of sockets that other tests left behind, should they be collected just here.
            warnings.simplefilter("ignore", ResourceWarning)
            train(folder=tmp_path / "kept")
        assert capfd.readouterr() == ("", "")
        assert list((tmp_path / "cwd").iterdir()) == []

    def test_shows_a_bar_on_request(self, train, capfd):
        """progress=True is for people who wait."""
        train(progress=True)
        assert "Epoch" in "".join(capfd.readouterr())

    def test_trained_weights_are_described_beside_them(self, train, tmp_path):
        """A person can read what was trained, how, and with which versions."""
        train()
        (record,) = files(tmp_path, ".json")
        trained = json.loads(record.read_text())["trained"]
        assert trained["module"]["class"].endswith("Counted")
        assert trained["data"]["hyperparameters"] == {"batch_size": 512, "seed": 0}
        assert trained["training"] == {"max_epochs": 1, "seed": 0, "accelerator": "cpu"}
        assert trained["versions"]["torch"] == torch.__version__

    def test_refuses_a_module_and_no_epochs(self, tmp_path):
        """A module's initial weights come from no seed; no epoch is no training."""
        with pytest.raises(TypeError, match="lambda: SoftmaxRegression"):
            fit_or_load(SoftmaxRegression((4,), 2), Digits(), folder=tmp_path, max_epochs=1)
        with pytest.raises(ValueError, match="max_epochs=0"):
            fit_or_load(lambda: SoftmaxRegression((4,), 2), Digits(), folder=tmp_path, max_epochs=0)

    def test_keeps_no_weights_that_diverged(self, train, tmp_path):
        """NaN weights are an error now, not a puzzle in a later test."""
        with pytest.raises(DivergedError, match="aren't finite"):
            train(learning_rate=float("inf"))
        assert not files(tmp_path, ".pt") + files(tmp_path, ".json")


class Late(Counted):
    """Logs one number more from its third epoch on."""

    def on_train_epoch_start(self) -> None:
        if self.current_epoch > 1:
            self.log("late", float(self.current_epoch))


class TestHistory:
    def test_has_one_number_an_epoch_for_all_that_is_logged(self, train):
        """Whether trained now or loaded."""
        first, second = train(max_epochs=3), train(max_epochs=3)
        assert len(trainings) == 1
        assert set(first.history) == {"train_loss", "train_accuracy", "val_loss", "val_accuracy"}
        assert {len(numbers) for numbers in first.history.values()} == {3}
        assert first.history == second.history

    def test_tells_what_happened(self, train):
        """Without a step size every epoch has the loss that the weights have on the data."""
        data = Digits(512)
        model = train(learning_rate=0.0, max_epochs=2)
        data.setup("fit")
        for stage, samples in zip(("train", "val"), data.training_samples(), strict=True):
            x, y = samples.arrays()
            loss = torch.nn.functional.cross_entropy(model(x), y).item()
            assert model.history[f"{stage}_loss"] == pytest.approx([loss, loss], rel=1e-5)

    def test_is_kept_beside_the_weights(self, train, tmp_path):
        """A person can read and plot it."""
        model = train(max_epochs=2)
        (record,) = files(tmp_path, ".json")
        assert json.loads(record.read_text())["history"] == model.history

    def test_says_where_nothing_was_logged_yet(self, tmp_path):
        """Positions are epochs: what starts late is not moved to the first one."""
        model = fit_or_load(lambda: Late((1, 8, 8), 10), Digits(512), folder=tmp_path, max_epochs=4)
        assert np.isnan(model.history["late"][:2]).all()
        assert model.history["late"][2:] == [2.0, 3.0]

    @pytest.mark.parametrize(
        "damaged", [None, [], {"val_loss": 1.0}, {"val_loss": ["1"]}, {"val_loss": [1.0, None]}]
    )
    def test_that_is_damaged_is_an_error(self, train, tmp_path, damaged):
        """With the way out, as for any other damage."""
        train()
        (record,) = files(tmp_path, ".json")
        record.write_text(json.dumps(json.loads(record.read_text()) | {"history": damaged}))
        with pytest.raises(UnreadableCheckpointError, match=r"history .* Delete .* to train anew"):
            train()

    def test_that_is_absent_is_an_error(self, train, tmp_path):
        """Nothing is made up for it."""
        train()
        (record,) = files(tmp_path, ".json")
        content = json.loads(record.read_text())
        del content["history"]
        record.write_text(json.dumps(content))
        with pytest.raises(UnreadableCheckpointError, match=r"history .* Delete"):
            train()


class TestFilesThatChanged:
    def test_other_weights_are_not_believed(self, train, tmp_path):
        """One flipped bit loads silently in torch; here the hash tells."""
        train()
        (weights,) = files(tmp_path, ".pt")
        content = bytearray(weights.read_bytes())
        content[len(content) // 2] ^= 1
        weights.write_bytes(content)
        with pytest.raises(MismatchedCheckpointError, match=r"changed since .* Delete"):
            train()

    @pytest.mark.parametrize("text", ["{", "\x00", '{"trained": '])
    def test_a_broken_record_is_an_error(self, train, tmp_path, text):
        """With the way out; nothing is trained over it in silence."""
        train()
        (record,) = files(tmp_path, ".json")
        record.write_text(text)
        with pytest.raises(UnreadableCheckpointError, match=r"Delete .* to train anew"):
            train()

    @pytest.mark.parametrize("text", ["[]", '{"trained": {}}'])
    def test_the_record_of_another_training_is_an_error(self, train, tmp_path, text):
        """The file's name alone does not vouch for the weights."""
        train()
        (record,) = files(tmp_path, ".json")
        record.write_text(text)
        with pytest.raises(MismatchedCheckpointError, match="of another training"):
            train()

    @pytest.mark.parametrize("ending", [".pt", ".json"])
    def test_half_a_checkpoint_is_trained_anew(self, train, tmp_path, ending):
        """Weights without record, or a record without weights, are not believed."""
        first = train()
        files(tmp_path, ending)[0].unlink()
        assert same(first, train())
        assert len(trainings) == 2


SHARED = """
import os, sys, time
from lightning_modules.classifiers import SoftmaxRegression
from lightning_modules.datasets import Digits
from lightning_modules.training import fit_or_load

stop = sys.argv[-1]

class Told(SoftmaxRegression):
    def on_fit_start(self):
        print("training", flush=True)
        if stop == "while training":
            time.sleep(600)

def train(folder):
    return fit_or_load(lambda: Told((1, 8, 8), 10), Digits(512), folder=folder, max_epochs=2)

def writing(descriptor):
    print("writing", flush=True)
    time.sleep(600)

def main():
    if stop == "while writing":
        os.fsync = writing
    sys.stdin.readline()
    print(train(sys.argv[-2]).network[1].weight.sum().item())
"""


class Rival:
    """A process that asks for the same weights as all others, once it is told to go."""

    def __init__(self, module: Path, folder: Path, stop: str = "never") -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", f"import {module.stem}; {module.stem}.main()", folder, stop],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([str(ROOT), str(module.parent)]),
            },
        )

    def go(self) -> None:
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def said(self) -> str:
        return self.process.stdout.readline().strip()

    def ended(self) -> str:
        """What was left to say."""
        return self.process.communicate()[0].strip()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.ended()


def test_one_process_trains_others_wait_and_what_was_killed_is_not_believed(
    tmp_path, monkeypatch, capfd
):
    """Killed for real while it trains, then while it writes; the third trains, the last loads
    (BAD INPUTS 5.28).
    """
    module, folder = tmp_path / "told_by_a_test.py", tmp_path / "kept"
    module.write_text(SHARED)
    # All started at once, because most of their time goes into imports.
    stops = ("while training", "while writing", "never")
    first, second, third = (Rival(module, folder, stop) for stop in stops)

    first.go()
    assert first.said() == "training"
    second.go()  # and waits, because the first one holds the lock
    first.kill()
    assert second.said() == "training"
    assert not files(folder, ".pt") + files(folder, ".json")

    assert second.said() == "writing"
    second.kill()
    assert files(folder, ".tmp")
    assert not files(folder, ".pt") + files(folder, ".json")

    third.go()
    assert third.said() == "training"
    monkeypatch.syspath_prepend(tmp_path)
    loaded = importlib.import_module(module.stem).train(folder)  # waits for the third one
    assert capfd.readouterr().out == ""
    assert float(third.ended()) == loaded.network[1].weight.sum().item()
    assert not files(folder, ".tmp")
    assert third.process.returncode == 0

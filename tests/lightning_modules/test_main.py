import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lightning_modules.__main__ import main
from lightning_modules.autoencoders import VanillaAutoencoder
from lightning_modules.checkpoints import load_weights

ROOT = Path(__file__).parents[2]

# Lightning 2.6 calls jsonargparse by older names.
pytestmark = pytest.mark.filterwarnings("ignore:(.|\\n)*[Dd]eprecat")


def start(folder: Path, *words: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "lightning_modules", *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "120", "OMP_NUM_THREADS": "1"},
    )


def test_fits_and_tests_by_short_names(tmp_path):
    """In real processes: the shape comes from the data, a bar is shown, weights are kept."""
    fit = start(
        tmp_path, "fit", "--model", "VanillaAutoencoder", "--model.hidden", "16",
        "--data", "Digits", "--trainer.max_epochs", "2",
    )  # fmt: skip
    test = start(
        tmp_path, "test", "--model", "ConvNet", "--data", "Digits", "--trainer.logger=false"
    )
    fitted, tested = fit.communicate()[0], test.communicate()[0]

    assert fit.returncode == 0, fitted
    assert "Epoch 1/1" in fitted
    assert "val_loss" in fitted
    (kept,) = tmp_path.rglob("*.ckpt")
    load_weights(VanillaAutoencoder((1, 8, 8), 16), kept)
    assert "classes" not in torch.load(kept, weights_only=True)["hyper_parameters"]

    assert test.returncode == 0, tested
    assert "test_accuracy" in tested


@pytest.fixture
def alone(monkeypatch):
    """Without pytest's own arguments, which Lightning would warn of."""
    monkeypatch.setattr(sys, "argv", ["lightning_modules"])


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--model", "VanilaAutoencoder"], "VanilaAutoencoder"),
        (["--model", "VanillaAutoencoder", "--model.loss", "bse"], "did you mean .*bce"),
        (["--model", "SoftmaxRegression", "--model.depth", "3"], "depth"),
    ],
)
def test_refuses_wrong_arguments_without_a_traceback(capsys, alone, words, reason):
    """An unknown class, value or option is exit status 2 and one error with the cause."""
    with pytest.raises(SystemExit) as stopped:
        main(["fit", *words, "--data", "Digits"])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert re.search(reason, error)


def test_help_names_the_program_and_an_example(capsys, alone):
    """`--help` says how it is called."""
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    assert shown.startswith("usage: python -m lightning_modules")
    assert "--data Digits" in " ".join(shown.split())

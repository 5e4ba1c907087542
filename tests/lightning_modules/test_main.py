import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from lightning_modules.__main__ import main
from lightning_modules.autoencoders import VARIANTS, VanillaAutoencoder
from lightning_modules.checkpoints import load_weights

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "examples" / "paper" / "configs"
QUIET = (
    "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false", "--trainer.log_every_n_steps=1",
)  # fmt: skip

# Lightning 2.6 calls jsonargparse by older names.
pytestmark = pytest.mark.filterwarnings("ignore:(.|\\n)*[Dd]eprecat")


def start(folder: Path, *words: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "lightning_modules", *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "120"},
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


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--model", "VanilaAutoencoder"], "model 'VanilaAutoencoder': did you mean Vanilla"),
        (["--model", "Vanilla"], "unknown model 'Vanilla': known are .*VanillaAutoencoder"),
        (["--model", "Autoencoder"], "abstract"),
        (["--model", "VanillaAutoencoder", "--model.loss", "bse"], "did you mean .*bce"),
        (["--model", "VanillaAutoencoder", "--model.network", "dens"], "did you mean dense"),
        (["--model", "VanillaAutoencoder", "--model.latent", "0"], "latent=0"),
        (
            ["--model", "VanillaAutoencoder", "--model.activations", "[relu,relu,elu,sigmoyd]"],
            "did you mean sigmoid",
        ),
        (["--model", "SparseAutoencoder", "--model.penalty", "l3"], "known are kl, l1"),
        (["--model", "SparseAutoencoder", "--model.rho", "1.5"], "rho=1.5"),
        (["--model", "DenoisingAutoencoder", "--model.corruption", "mask"], "mean masking"),
        (["--model", "VariationalAutoencoder", "--model.likelihood", "gausian"], "mean gaussian"),
        (["--model", "VariationalAutoencoder", "--model.loss", "mse"], "loss"),
        (["--model", "SoftmaxRegression", "--model.depth", "3"], "depth"),
    ],
)
def test_refuses_wrong_arguments_without_a_traceback(capsys, words, reason):
    """An unknown class, value or option is exit status 2 and one error with the known ones."""
    with pytest.raises(SystemExit) as stopped:
        main(["fit", *words, "--data", "Digits"])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert re.search(reason, error)


def test_refuses_an_unknown_class_in_a_file(capsys, tmp_path):
    """As on the command line; and unknown data too."""
    file = tmp_path / "wrong.yaml"
    file.write_text("model:\n  class_path: SparsAutoencoder\n")
    for words, reason in (
        (["--config", str(file)], "model 'SparsAutoencoder': did you mean SparseAutoencoder"),
        (["--model", "ConvNet", "--data", "Digitz"], "data 'Digitz': did you mean Digits"),
    ):
        with pytest.raises(SystemExit, match="2"):
            main(["fit", *words])
        assert reason in capsys.readouterr().err


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """In a folder of this test, and Lightning's seed is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")
    return tmp_path


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # Lightning 2.6, torch 2.13
@pytest.mark.filterwarnings("ignore:.*does not have many workers")
@pytest.mark.parametrize("name", VARIANTS)
def test_trains_each_variant_of_the_paper(elsewhere, name):
    """From its file, on the digits for one epoch: options override it, wherever they stand."""
    file = str(CONFIGS / f"{name}.yaml")
    main(["fit", "--data", "Digits", "--config", file, "--trainer.max_epochs", "1", *QUIET])
    (kept,) = elsewhere.rglob("*.ckpt")
    content = torch.load(kept, weights_only=True)
    assert content["hyper_parameters"]["input_shape"] == (1, 8, 8)
    load_weights(VARIANTS[name]((1, 8, 8)), kept)
    (metrics,) = elsewhere.rglob("metrics.csv")
    with metrics.open() as lines:
        losses = [float(row["val_loss"]) for row in csv.DictReader(lines) if row["val_loss"]]
    assert len(losses) == 1


@pytest.mark.parametrize("name", VARIANTS)
def test_files_hold_the_paper_s_settings(name):
    """MNIST, 35 epochs, batches of 1024, 784-504-28-504-784 (2 for the variational one)."""
    content = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    assert content["model"]["class_path"] == VARIANTS[name].__name__
    model = content["model"]["init_args"]
    assert (model["hidden"], model["latent"]) == (504, 2 if name == "variational" else 28)
    assert content["data"] == {"class_path": "MNIST", "init_args": {"batch_size": 1024}}
    assert content["trainer"] == {"max_epochs": 35}


def test_help_names_the_program_and_an_example(capsys):
    """`--help` says how it is called."""
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    assert shown.startswith("usage: python -m lightning_modules")
    assert "--data Digits" in " ".join(shown.split())

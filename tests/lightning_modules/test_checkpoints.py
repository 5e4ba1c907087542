import os
import pickle

import pytest
import torch
from torch import nn

from lightning_modules.checkpoints import load_weights
from lightning_modules.classifiers import SoftmaxRegression
from lightning_modules.errors import (
    CheckpointError,
    MismatchedCheckpointError,
    UnreadableCheckpointError,
    UnsafeCheckpointError,
)


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


def equal(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


class Hostile:
    """Runs a command when it is unpickled the trusting way."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "weights.pt"


class TestLoads:
    @pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before-torch-1.6"])
    def test_a_state_dict(self, path, zipped):
        """The weights arrive, and the module is ready to predict, not to train."""
        saved, loaded = network(1), network(2)
        torch.save(saved.state_dict(), path, _use_new_zipfile_serialization=zipped)
        assert load_weights(loaded, path) is loaded
        assert equal(saved, loaded)
        assert not any(module.training for module in loaded.modules())

    @pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # Lightning 2.6, torch 2.13
    def test_the_weights_of_a_lightning_checkpoint(self, path, trainer):
        """Of a Trainer's own checkpoint only `state_dict` is used."""
        saved = SoftmaxRegression((3,), 2)
        batches = torch.utils.data.DataLoader([(torch.rand(3), 0)])
        trainer.fit(saved, batches, batches)
        trainer.save_checkpoint(path)
        assert equal(saved, load_weights(SoftmaxRegression((3,), 2), path))

    def test_no_hyperparameters(self, path, tmp_path):
        """An `_instantiator` in the hyperparameters, which older Lightning ran, is ignored
        (BAD INPUTS 4.1).
        """
        hparams = {"_instantiator": "os.system", "command": f"touch {tmp_path / 'ran'}"}
        torch.save({"state_dict": network().state_dict(), "hyper_parameters": hparams}, path)
        load_weights(network(1), path)
        assert not (tmp_path / "ran").exists()

    def test_weights_saved_on_a_gpu(self, path, monkeypatch):
        """Where there is none: every tensor of the file says cuda:0 (BAD INPUTS 5.22)."""
        monkeypatch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
        torch.save(network(1).state_dict(), path)
        monkeypatch.undo()
        assert b"cuda:0" in path.read_bytes()
        assert equal(network(1), load_weights(network(2), path))

    def test_whatever_the_environment_says_about_pickles(self, path, monkeypatch, tmp_path):
        """TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD turns torch's default off, but not ours
        (BAD INPUTS 4.1).
        """
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
        torch.save({"state_dict": Hostile(f"touch {tmp_path / 'ran'}")}, path)
        with pytest.raises(CheckpointError):
            load_weights(network(), path)
        assert not (tmp_path / "ran").exists()


class TestRefuses:
    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (b"", "empty"),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
            (b"\n<!DOCTYPE html><html>", "a web page"),
            (b"GIF89a", "not written by torch.save"),
            (b"cos\nsystem\n(S'true'\ntR.", "not written by torch.save"),
        ],
    )
    def test_what_is_no_checkpoint(self, path, content, reason):
        """Each kind of wrong file has a message of its own, with the path (BAD INPUTS 5.22)."""
        path.write_bytes(content)
        with pytest.raises(UnreadableCheckpointError, match=f"weights.pt: .*{reason}"):
            load_weights(network(), path)

    @pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.99])
    @pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before-torch-1.6"])
    def test_what_is_cut_short(self, path, share, zipped):
        """Wherever the copy stopped (BAD INPUTS 5.22)."""
        torch.save(network().state_dict(), path, _use_new_zipfile_serialization=zipped)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(UnreadableCheckpointError, match="cut short"):
            load_weights(network(), path)

    def test_what_is_cut_short_inside_a_name(self, path):
        """Half a name of torch's own at the end is a file cut short, not one that asks for more."""
        torch.save(network().state_dict(), path, _use_new_zipfile_serialization=False)
        content = path.read_bytes()
        path.write_bytes(content[: content.index(b"FloatStorage") + len(b"FloatStor")])
        with pytest.raises(UnreadableCheckpointError, match="cut short"):
            load_weights(network(), path)

    @pytest.mark.parametrize("protocol", [2, 4])
    def test_a_hostile_pickle(self, path, tmp_path, protocol):
        """The command inside does not run (BAD INPUTS 5.22)."""
        path.write_bytes(pickle.dumps(Hostile(f"touch {tmp_path / 'ran'}"), protocol))
        with pytest.raises(UnsafeCheckpointError, match="nothing of it was executed"):
            load_weights(network(), path)
        assert not (tmp_path / "ran").exists()

    def test_a_hostile_entry_beside_good_weights(self, path, tmp_path):
        """Good weights don't buy the rest a run; the message names what it asked for."""
        hostile = Hostile(f"touch {tmp_path / 'ran'}")
        torch.save({"state_dict": network().state_dict(), "callbacks": hostile}, path)
        with pytest.raises(UnsafeCheckpointError, match=r"system.*state_dict\(\)"):
            load_weights(network(), path)
        assert not (tmp_path / "ran").exists()

    def test_a_whole_pickled_module(self, path):
        """`torch.save(module)` needs code to load; the message says what to save instead."""
        torch.save(network(), path)
        with pytest.raises(
            UnsafeCheckpointError, match=r"Sequential.*Save `module.state_dict\(\)`"
        ):
            load_weights(network(), path)

    @pytest.mark.parametrize("url", ["https://example.org/w.pt", "file:///w.pt", "s3://b/w.pt"])
    def test_a_url(self, url):
        """Nothing is fetched (BAD INPUTS 4.1)."""
        with pytest.raises(UnreadableCheckpointError, match="a URL is not loaded"):
            load_weights(network(), url)

    def test_a_path_without_a_file(self, tmp_path):
        """Nothing there, and a folder, are told apart."""
        with pytest.raises(UnreadableCheckpointError, match="no such file"):
            load_weights(network(), tmp_path / "absent.pt")
        with pytest.raises(UnreadableCheckpointError, match="a folder"):
            load_weights(network(), tmp_path)

    def test_names_with_the_prefix_of_a_wrapper(self, path):
        """Loaded loosely they would all be skipped, and the weights stay random
        (BAD INPUTS 5.23).
        """
        torch.save(nn.DataParallel(network()).state_dict(), path)
        with pytest.raises(MismatchedCheckpointError, match=r"'module\.', which torch.*strip it"):
            load_weights(network(), path)

    def test_weights_of_another_module(self, path):
        """Missing and unexpected names are both told."""
        torch.save({"0.weight": torch.zeros(4, 3), "head": torch.zeros(1)}, path)
        with pytest.raises(
            MismatchedCheckpointError, match=r"lacks 0.bias, 2.weight, 2.bias; .*has no head"
        ):
            load_weights(network(), path)

    def test_weights_of_another_shape(self, path):
        """With both shapes."""
        torch.save({**network().state_dict(), "0.weight": torch.zeros(4, 5)}, path)
        with pytest.raises(MismatchedCheckpointError, match=r"0.weight is \(4, 5\) .* \(4, 3\)"):
            load_weights(network(), path)

    @pytest.mark.parametrize(
        ("content", "reason"),
        [([1, 2], "holds a list"), ({"epoch": 3, "loss": 0.1}, "no tensors: epoch, loss")],
    )
    def test_what_is_no_state_dict(self, path, content, reason):
        """A readable file of something else."""
        torch.save(content, path)
        with pytest.raises(MismatchedCheckpointError, match=reason):
            load_weights(network(), path)

    def test_and_leaves_the_module_as_it_was(self, path):
        """Neither weights nor mode change when the file doesn't fit."""
        torch.save({**network(1).state_dict(), "2.bias": torch.zeros(7)}, path)
        module = network(2)
        with pytest.raises(MismatchedCheckpointError):
            load_weights(module, path)
        assert equal(module, network(2))
        assert module.training

"""Stored counterexamples: what is read, what is refused, and what `replay` finds."""

import json
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from pytest_aerobust import (
    AerobustError,
    ContractError,
    Counterexamples,
    DataError,
    ExamplesError,
    ModelError,
    Replayed,
    replay,
)
from pytest_aerobust.contract.attack import chosen
from pytest_aerobust.contract.contract import Contract
from pytest_aerobust.contract.floors import Floors
from pytest_aerobust.counterexamples.files import Saved, file_of, load, save
from pytest_aerobust.counterexamples.worst import worst_cases
from pytest_aerobust.measurement.measure import measure
from pytest_aerobust.measurement.measurement import Measurement
from pytest_aerobust.subjects.subject import build_subject
from pytest_aerobust.verdict.judge import judge

FLOORS = Floors(min_acc=Fraction(1))


class Border(nn.Module):
    """Logits [-z, z], z the weighted sum of x - 0.5 + shift."""

    def __init__(self, scale=1.0, shift=0.0, dtype=torch.float32):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale, dtype=dtype))
        self.shift = shift

    def forward(self, x):
        z = self.scale * (x - 0.5 + self.shift).flatten(1).sum(dim=1)
        return torch.stack([-z, z], dim=1)


def data(copies=2):
    distances = torch.tensor([0.02, 0.05, 0.08, 0.3]).repeat(copies)
    distances = torch.cat([-distances, distances])
    return 0.5 + distances[:, None].expand(-1, 4), (distances > 0).long()


def found(model, pairs, attack="bim", norm=None, eps=0.1, *, filter=None, threat="white-box", **by):
    """What a failing contract would store."""
    contract = Contract(chosen(attack, norm, None, None), eps, floors=FLOORS, **by)
    subject = build_subject(
        model,
        pairs,
        filter,
        mean=by.get("mean"),
        std=by.get("std"),
        bounds=by.get("bounds") or (0, 1),
        draws=by.get("eot") or 1,
    )
    kept = Counterexamples("unfiltered" if filter is None else "filtered")
    measurement = Measurement(contract.attack, eps, threat)
    evaluation = measure(subject, measurement, on_examples=kept)
    verdict = judge(FLOORS, evaluation)
    stored = worst_cases(
        subject, contract, evaluation, verdict, kept, test="test_it.py::test_it", device=None
    )
    assert isinstance(stored, Saved)
    return stored


@pytest.fixture
def file(tmp_path):
    """Twelve stored examples of a small model, 0.02 to 0.08 from its border."""
    return save(tmp_path, found(Border(), data()))


def test_what_was_found_is_seen_again(file):
    """The same model is fooled by every stored example, without an attack."""
    replayed = replay(file, Border())
    assert (replayed.fooled, replayed.stored) == (12, 12)
    (contract,) = replayed.contracts
    assert {each.outcome for each in contract.examples} == {"fooled"}
    assert all(each.clean_answer == each.label != each.answer for each in contract.examples)
    assert "12 of 12 stored examples still fool the pipeline" in str(replayed)


def test_a_mended_model_withstands(file):
    """What no longer fools is counted and marked, sample by sample."""

    class Mended(Border):
        def forward(self, x):
            near = (x - 0.5).abs().amax(dim=1) < 0.015
            logits = super().forward(x)
            return torch.where(near[:, None], -logits, logits)

    replayed = replay(file, Mended())
    assert 0 < replayed.fooled < replayed.stored
    (contract,) = replayed.contracts
    for each in contract.examples:
        assert (each.outcome == "fooled") == (each.answer != each.label)
        assert each.recorded_answer != each.label
    assert "answered correctly now" in str(replayed)


def test_no_gradient_and_no_attack(file, monkeypatch):
    """Replaying asks only for answers: a model without gradients will do."""

    class Answers(Border):
        def forward(self, x):
            assert not torch.is_grad_enabled()
            return super().forward(x).detach()

    assert replay(file, Answers()).fooled == 12


@pytest.mark.parametrize(
    ("attack", "norm", "eps"),
    [
        ("bim", "linf", 0.1),
        ("pgd", "l2", 0.2),
        ("L1FMNAttack", "l1", 0.4),
        ("L0FMNAttack", "l0", 3),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_norm_and_precision(tmp_path, attack, norm, eps, dtype):
    """Examples of every norm hold again after the way through a file, in their precision."""
    model = nn.Linear(4, 2).to(dtype)
    with torch.no_grad():
        weight = torch.tensor([1.0, 0.9, 1.1, 1.2])
        model.weight.copy_(torch.stack([-weight, weight]))
        model.bias.copy_(torch.tensor([2.1, -2.1]))
    stored = found(model, data(), attack, norm, eps)
    assert stored.adversarial.dtype == dtype
    replayed = replay(save(tmp_path, stored), model)
    assert replayed.fooled == replayed.stored > 0
    assert all(each.distance <= eps * 1.001 for each in replayed.contracts[0].examples)


def test_a_filter_is_asked_for(tmp_path):
    """Examples that were found behind a filter are not judged without one by oversight."""

    def halved(x):
        return 0.5 + (x - 0.5) / 2

    file = save(tmp_path, found(Border(), data(), filter=halved))
    with pytest.raises(ContractError, match=r"give filter=, or filter=torch\.nn\.Identity"):
        replay(file, Border())
    assert replay(file, Border(), filter=halved).fooled == 12
    assert replay(file, Border(), filter=nn.Identity()).fooled == 12
    assert replay(file, Border(), filter=lambda x: 1 - x).fooled == 0


@pytest.mark.parametrize("threat", ["gray-box", "behind-filter"])
def test_every_threat(tmp_path, threat):
    """Gray-box examples meet the pipeline, those from behind the filter the model alone."""

    def doubled(x):
        return 0.5 + (x - 0.5) * 2

    file = save(tmp_path, found(Border(), data(), filter=doubled, threat=threat))
    replayed = replay(file, Border(), filter=doubled)
    assert replayed.fooled == replayed.stored > 0
    with safe_open(file, "pt") as stored:
        assert ("filtered" in stored.keys()) == (threat == "gray-box")  # noqa: SIM118


def test_the_normalising_front_is_remembered(tmp_path):
    """`mean` and `std` come from the file unless they are given."""
    file = save(tmp_path, found(Border(shift=0.5), data(), mean=0.5, std=(1.0,) * 4))
    assert replay(file, Border(shift=0.5)).fooled == 12
    assert replay(file, Border(shift=0.5), mean=5.0).fooled == 6


def test_what_is_random_is_averaged_again(tmp_path):
    """Examples of a mean of draws are judged by the mean of as many."""

    class Noisy(Border):
        def forward(self, x):
            return super().forward(x) + torch.randn(len(x), 2)

    file = save(tmp_path, found(Noisy(), data(), eot=64))
    saved = load(file)
    assert replay(file, Noisy()).fooled == len(saved) > 0
    once = save(tmp_path, replace(saved, note=replace(saved.note, draws=1)))
    assert replay(once, Noisy()).fooled < len(saved)


def test_classes_of_a_scikit_learn_model(tmp_path):
    """Labels are stored by place and told by name, whatever a model calls its classes."""
    sklearn = pytest.importorskip("sklearn.linear_model")
    inputs, labels = data(10)
    names = np.array(["dog", "cat"])[labels.numpy()]
    model = sklearn.LogisticRegression(C=100.0).fit(inputs.numpy(), names)
    file = save(tmp_path, found(model, (inputs, names)))
    replayed = replay(file, model)
    assert replayed.fooled == replayed.stored == 16
    assert {each.label for each in replayed.contracts[0].examples} <= {"cat", "dog"}


def test_the_worst_come_first():
    """At most 16, those where the wrong class leads by most."""
    inputs, labels = data(10)
    stored = found(Border(), (inputs, labels), "fgsm")
    assert len(stored) == 16
    logits = Border()(stored.adversarial).detach()
    lead = (logits.amax(dim=1) - logits.gather(1, stored.labels[:, None]).squeeze(1)).tolist()
    assert lead == sorted(lead, reverse=True)
    assert lead[-1] > 2 * 4 * (0.1 - 0.03)  # those 0.02 from the border, none of those 0.05
    assert {sample % 4 for sample in stored.samples.tolist()} == {0}


def test_a_folder_holds_many(tmp_path):
    """Each file of a folder is judged; a folder without any is an error."""
    stored = found(Border(), data())
    for name in ("one", "two"):
        save(tmp_path, replace(stored, note=replace(stored.note, test=name)))
    (tmp_path / ".half.tmp").write_text("what a killed writer left")
    replayed = replay(tmp_path, Border())
    assert isinstance(replayed, Replayed)
    assert [contract.note.test for contract in replayed.contracts] == ["one", "two"]
    assert replayed.stored == 24
    (tmp_path / "empty").mkdir()
    with pytest.raises(ExamplesError, match="holds no counterexamples"):
        replay(tmp_path / "empty", Border())


def test_a_note_names_its_file(file):
    """The JSON file may be named for the file beside it."""
    assert replay(file.with_suffix(".json"), Border()).fooled == 12
    with pytest.raises(ExamplesError, match="does not exist"):
        replay(file.with_name("nowhere.safetensors"), Border())


def test_the_round_trip_is_exact(file):
    """What is loaded is what was saved, to the last bit."""
    saved = found(Border(), data())
    again = load(file)
    assert again.note == saved.note
    for name, tensor in saved.tensors().items():
        assert torch.equal(getattr(again, name), tensor)


def test_a_model_that_does_not_fit(file):
    """Other classes and other inputs are errors that say so, not a verdict."""
    with pytest.raises(ModelError, match="model has 3 classes"):
        replay(file, nn.Linear(4, 3))
    with pytest.raises(ModelError, match="on inputs of shape"):
        replay(file, nn.Linear(7, 2))
    with pytest.raises(ContractError, match="std"):
        replay(file, Border(), std=0)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_any_byte_changed(file, place, flip):
    """One byte of the file changed, wherever: refused by name, never another verdict
    (BAD INPUTS 4.3).
    """
    whole = file.read_bytes()
    changed = bytearray(whole)
    changed[int(place * len(whole))] ^= flip
    broken = file.with_name("changed.safetensors")
    broken.write_bytes(changed)
    with pytest.raises(ExamplesError, match=r"changed\.safetensors can't be replayed"):
        load(broken)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(share=st.floats(0, 1, exclude_max=True))
def test_any_cut(file, share):
    """A file cut short, empty included, is refused by name."""
    whole = file.read_bytes()
    broken = file.with_name("cut.safetensors")
    broken.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ExamplesError, match=r"cut\.safetensors can't be replayed"):
        load(broken)


@pytest.mark.parametrize(
    "content",
    [
        b"<!DOCTYPE html><html>not found</html>",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        b"\x80\x04\x95cposix\nsystem\n",
        b"PK\x03\x04" + b"\0" * 100,
    ],
    ids=["page", "pointer", "pickle", "zip"],
)
def test_files_of_other_kinds(tmp_path, content):
    """A web page, a pointer, a pickle: refused, and nothing of it is executed."""
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(ExamplesError, match="can't be replayed"):
        replay(path, Border())


def test_a_foreign_safetensors_file(tmp_path):
    """Weights of a model are no counterexamples."""
    save_file({"weight": torch.zeros(3)}, tmp_path / "x.safetensors", {"format": "pt"})
    with pytest.raises(ExamplesError, match="none that this plugin wrote"):
        replay(tmp_path, Border())


FORGED = {
    "schema": {"schema": 2},
    "no schema": {"schema": None},
    "norm": {"norm": "l7"},
    "threat": {"threat": "mind-reading"},
    "arm": {"arm": "left"},
    "eps": {"eps": -1},
    "eps text": {"eps": "0.3"},
    "bounds": {"bounds": [1, 0]},
    "classes": {"classes": []},
    "few classes": {"classes": ["0"]},
    "examples": {"examples": []},
    "rows": {"examples": [{"sample": 0}] * 12},
    "test": {"test": None},
    "more": {"unknown": 1},
}


@pytest.mark.parametrize("change", FORGED.values(), ids=FORGED)
def test_a_forged_note(file, monkeypatch, change):
    """A note that never came from here, digest and all, is refused with what is wrong in it
    (BAD INPUTS 4.3).
    """
    saved = load(file)
    plain = {**saved.note.to_dict(), **change}
    monkeypatch.setattr(type(saved.note), "to_dict", lambda self: plain)
    save(file.parent, saved)
    with pytest.raises(ExamplesError, match="can't be replayed"):
        load(file)


@pytest.mark.parametrize(
    "change",
    [
        {"labels": torch.full((12,), 7)},
        {"answers": torch.full((12,), -1)},
        {"labels": torch.zeros(12)},
        {"samples": torch.zeros(3, dtype=torch.int64)},
        {"adversarial": torch.zeros(12, 5)},
        {"inputs": torch.zeros(12, 4, dtype=torch.float16)},
        {"filtered": torch.zeros(12)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_forged_tensors(file, change):
    """Tensors that don't fit each other are refused by name."""
    save(file.parent, replace(load(file), **change))
    (name,) = change
    with pytest.raises(ExamplesError, match=f"its {name} "):
        load(file)


def test_forged_examples_prove_nothing(file):
    """What lies outside the ball, the bounds or the numbers is no example, whatever a file says."""
    saved = load(file)
    forged = saved.adversarial.clone()
    forged[0] += 0.5
    forged[1, 0] = float("nan")
    forged[2, 0] = float("inf")
    save(file.parent, replace(saved, adversarial=forged))
    replayed = replay(file, Border())
    assert replayed.fooled == 9
    outcomes = [each.outcome for each in replayed.contracts[0].examples]
    assert outcomes[:4] == ["invalid", "invalid", "invalid", "fooled"]
    assert "no adversarial example" in str(replayed)


def test_originals_outside_their_bounds(file):
    """Originals that no data could have held are an error of the package."""
    save(file.parent, replace(load(file), inputs=torch.full((12, 4), 3.0)))
    with pytest.raises(DataError, match="inputs span"):
        replay(file, Border())


def test_a_file_steers_no_terminal(file):
    """Control characters in a file's texts don't reach the screen."""
    saved = load(file)
    note = replace(saved.note, headline="\x1b[2Jall is well\x07\n\n", classes=("\x1b[31m", "b"))
    save(file.parent, replace(saved, note=note))
    shown = str(replay(file, Border()))
    assert "all is well" in shown
    assert all(char.isprintable() or char == "\n" for char in shown)


def test_a_file_too_large(file, monkeypatch):
    """Beyond the limit nothing is read at all (BAD INPUTS 4.3)."""
    monkeypatch.setattr("pytest_aerobust.counterexamples.files.LARGEST_FILE", 100)
    with pytest.raises(ExamplesError, match="more than the 100 that are read"):
        load(file)


def test_files_that_others_may_read(file):
    """A file has the permissions that the process's mask leaves, as any other."""
    plain = file.with_name("plain")
    plain.touch()
    assert file.stat().st_mode == plain.stat().st_mode


def test_random_state_is_left_alone(file):
    """Neither torch's nor NumPy's generators move, and the model's mode comes back."""
    model = Border().train()
    torch.manual_seed(3)
    np.random.seed(3)
    states = torch.get_rng_state(), np.random.get_state()[1].copy()
    replay(file, model)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1])
    assert model.training
    assert model.scale.requires_grad


def test_the_error_is_of_the_family():
    """Whoever catches the package's errors catches these."""
    assert issubclass(ExamplesError, AerobustError)


def test_the_note_beside_the_file(file):
    """The JSON file says what the tensors are, for people and other tools."""
    note = json.loads(file.with_suffix(".json").read_text())
    assert note == json.loads(json.dumps(load(file).note.to_dict()))
    assert file == file_of(file.parent, note["test"])

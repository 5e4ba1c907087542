"""The memory of attacks: what earlier runs found, tried on the model of today."""

import json

import pytest
from safetensors import safe_open
from safetensors.torch import save

from pytest_aerobust.history.memory import MemoryOfAttacks

MODEL = """
    import os
    from torch.nn import functional as F

    class Masked(Border):
        \"\"\"The same borders; an attack by signs that looks at its margin sees nothing.\"\"\"

        def forward(self, x):
            return super().forward(x).sign() + 0 * x.sum()


    @pytest.fixture(scope="session")
    def aerobust_model():
        told = os.environ
        model = Masked if "MASKED" in told else Border
        return model(shift=float(told.get("SHIFT", "0")))


    @pytest.fixture(scope="session")
    def aerobust_data():
        inputs, labels = samples(4)
        order = torch.randperm(40) if "SHUFFLE" in os.environ else torch.arange(40)
        return inputs[order], labels[order]
"""
INI = "[pytest]\naerobust_memory = memory\n"
WAIVED = ("gradients", "loss", "unbounded", "noise", "one step", "nesting")


@pytest.fixture
def remembering(suite):
    """A suite with a committed memory, empty as yet."""
    suite.conftest(MODEL)
    suite.write("pytest.ini", INI)
    return suite


def guard(suite, demand="min_acc=0.5", attack="bim"):
    waived = dict.fromkeys(WAIVED, "the attack is blind on purpose")
    suite.tests(f"""
        @robust("{attack}", eps=0.2, {demand}, id="it", waive={waived!r})
        def test_guard():
            pass
    """)


def row(suite, *options):
    result = suite.run(*options)
    (found,) = suite.measured(result).values()
    return found, result


def test_only_an_update_writes(remembering):
    """The memory is committed, so it changes where the baseline does, and nowhere else."""
    guard(remembering)
    remembering.run().assert_outcomes(passed=1)
    assert not (remembering.path / "memory").exists()
    remembering.run("--aerobust-update").assert_outcomes(passed=1)
    (path,) = (remembering.path / "memory").iterdir()
    before = path.read_bytes()
    remembering.run("--aerobust-update").assert_outcomes(passed=1)
    assert path.read_bytes() == before


def test_what_falls_to_memory_counts_and_is_told(remembering, monkeypatch):
    """A model that only hides its gradients falls to what was found before."""
    guard(remembering)
    remembering.run("--aerobust-update").assert_outcomes(passed=1)
    monkeypatch.setenv("MASKED", "1")
    found, result = row(remembering, "-rP")
    assert (found["memory_tried"], found["memory_fell"]) == (16, 16)
    assert found["unfiltered_accuracy_high"] == 0.6
    # Whoever fell to memory was not attacked, so the count without it is an interval.
    assert (found["without_memory_low"], found["without_memory_high"]) == (0.6, 1.0)
    result.stdout.fnmatch_lines(
        [
            "*memory: 16 examples of earlier runs tried; 16 samples fall to them that were not "
            "attacked again; robust accuracy without memory 0.600..1.000",
            "*samples that fall to memory: 0, 1, 5, 6,*",
        ]
    )


def test_a_floor_that_only_memory_breaks(remembering, monkeypatch):
    """The witnesses of earlier runs are as good as those of today."""
    guard(remembering, "min_acc=0.9")
    remembering.run("--aerobust-update").assert_outcomes(failed=1)
    monkeypatch.setenv("MASKED", "1")
    result = remembering.run()
    result.assert_outcomes(failed=1)
    assert "robust accuracy at most 0.6" in remembering.failure(result)


def test_baselines_know_no_memory(remembering, monkeypatch):
    """The comparison is of what the attack itself finds; both counts are told."""
    guard(remembering, "max_regression=0.0")
    remembering.run("--aerobust-update").assert_outcomes(passed=1)
    stored = json.loads((remembering.path / "aerobust-baseline.json").read_text())
    remembering.run("--aerobust-update").assert_outcomes(passed=1)
    assert json.loads((remembering.path / "aerobust-baseline.json").read_text()) == stored
    found, _ = row(remembering)
    assert found["regression"] == 0
    assert (found["memory_tried"], found["memory_fell"]) == (0, 0) or found["memory_fell"] == 0
    monkeypatch.setenv("MASKED", "1")
    found, _ = row(remembering)
    assert found["regression"] == -0.4  # nobody falls to the blind attack
    assert found["memory_fell"] == 16
    assert found["unfiltered_accuracy_low"] == 0.6
    assert (found["without_memory_low"], found["without_memory_high"]) == (1.0, 1.0)


def test_only_what_still_beats_the_model_counts(remembering, monkeypatch):
    """An example that the model of today withstands is tried, and no more."""
    guard(remembering, "min_acc=0.2")
    remembering.run("--aerobust-update").assert_outcomes(passed=1)
    monkeypatch.setenv("MASKED", "1")
    monkeypatch.setenv("SHIFT", "0.12")
    found, _ = row(remembering)
    assert found["memory_fell"] < found["memory_tried"] <= 16
    # Verified on today's model: a sample at distance 0.15 whose border moved away stands.
    assert found["unfiltered_accuracy_high"] > 0.6


def test_samples_are_known_by_their_content(remembering, monkeypatch):
    """A loader that shuffles finds the examples of its samples all the same."""
    guard(remembering)
    remembering.run("--aerobust-update").assert_outcomes(passed=1)
    monkeypatch.setenv("MASKED", "1")
    monkeypatch.setenv("SHUFFLE", "1")
    assert row(remembering)[0]["memory_fell"] == 16


@pytest.mark.parametrize("demand", ['min_acc=0.5, threat="gray-box"', "min_acc=0.5, queries=500"])
def test_who_could_not_have_made_them_gets_none(remembering, demand):
    """A gray-box attacker crafts on the model of today; one who asks pays for each answer."""
    attack = "boundary" if "queries" in demand else "bim"
    remembering.conftest(
        MODEL
        + "\n    @pytest.fixture\n    def aerobust_filter(identity):\n        return identity\n"
    )
    guard(remembering, demand, attack)
    remembering.run("--aerobust-update")
    found, _ = row(remembering)
    assert "memory_tried" not in found


def test_the_cache_knows_the_memory(remembering, monkeypatch):
    """Another memory is another measurement; the same one is answered at once."""
    guard(remembering)
    assert "cached" not in row(remembering)[0]
    remembering.run("--aerobust-update")
    assert "cached" not in row(remembering)[0]
    assert "cached" in row(remembering)[0]


def test_a_damaged_memory_stops_the_contract(remembering):
    """What was committed and is no longer whole is an error with the way out, and stays."""
    guard(remembering)
    remembering.run("--aerobust-update")
    (path,) = (remembering.path / "memory").iterdir()
    content = path.read_bytes()
    for changed in (content[:-5], content[:-1] + bytes([content[-1] ^ 1]), b""):
        path.write_bytes(changed)
        result = remembering.run("--aerobust-update")
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines(["*is no memory of attacks: *Restore it from version control*"])
        assert path.read_bytes() == changed


def rewritten(path, change, samples=None):
    """The file with other examples, under a digest that fits them."""
    with safe_open(path, framework="pt") as file:
        note = json.loads(file.metadata()["pytest-aerobust-memory"])
        examples = change(file.get_tensor("examples")).contiguous()
    names = note["samples"] if samples is None else samples(note["samples"])
    note |= {"samples": names, "digest": MemoryOfAttacks(tuple(names), examples).digest}
    path.write_bytes(save({"examples": examples}, {"pytest-aerobust-memory": json.dumps(note)}))


def filled(value):
    """One number of the first example replaced."""

    def change(examples):
        examples = examples.clone()
        examples[0, 1] = value
        return examples

    return change


@pytest.mark.parametrize(
    ("change", "samples", "words"),
    [
        (filled(float("nan")), None, "1 of its 4 examples is NaN or infinite"),
        (filled(-float("inf")), None, "1 of its 4 examples is NaN or infinite"),
        (lambda examples: examples * float("nan"), None, "4 of its 4 examples are NaN or inf"),
        (lambda examples: (examples * 10).long(), None, "its examples are torch.int64"),
        (lambda examples: examples[:, 0], None, "its examples have shape (4,)"),
        (lambda examples: examples[:0], lambda names: [], "it holds no examples"),
        (lambda examples: examples, lambda names: names[:1] * 4, "stands there twice"),
        (lambda examples: examples[:, :3], None, "examples of 3 numbers, the samples have 4"),
    ],
)
def test_a_poisoned_memory_is_the_file_s_fault(remembering, change, samples, words):
    """What fits its digest and can be no example stops the contract; no attack is blamed."""
    guard(remembering)
    remembering.run("--aerobust-update")
    (path,) = (remembering.path / "memory").iterdir()
    rewritten(path, change, samples)
    before = path.read_bytes()
    for options in ((), ("--aerobust-update",)):
        result = remembering.run(*options)
        result.assert_outcomes(errors=1)
        text = result.stdout.str()
        assert "is no memory of attacks: " in text
        assert words in text
        assert "candidates of" not in text
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "change",
    [
        lambda examples: examples + 5,  # outside the bounds
        lambda examples: examples.double() * 1e300,  # no number in the model's precision
        lambda examples: 1 - examples,  # far outside the ball
        lambda examples: examples[:, :, None],  # another shape of as many numbers
    ],
)
def test_what_this_attacker_can_not_make_beats_nobody(remembering, change):
    """Examples of other bounds, budgets or shapes are tried in vain; the attack is as sound."""
    guard(remembering)
    remembering.run("--aerobust-update")
    (path,) = (remembering.path / "memory").iterdir()
    rewritten(path, change)
    found, result = row(remembering)
    result.assert_outcomes(passed=1)
    assert found.get("memory_fell", 0) == 0
    assert found["unfiltered_accuracy_high"] == 0.6


def test_it_works_under_workers(remembering, monkeypatch):
    """Each worker writes the files of its own contracts."""
    guard(remembering)
    remembering.run("--aerobust-update", "-n1").assert_outcomes(passed=1)
    monkeypatch.setenv("MASKED", "1")
    assert row(remembering, "-n1")[0]["memory_fell"] == 16

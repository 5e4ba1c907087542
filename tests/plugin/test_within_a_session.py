"""What changes between two tests of one session is another model, or other data, in the second."""

import re

import pytest

# In the order in which they stand.
IN_ORDER = ("-p", "no:randomly")
DATASETS = """
    import json, os
    from pathlib import Path
    from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

    SHIFT = 0.0
    TOLD = {"shift": 0.0}
    HERE = Path(__file__).parent

    class Shifted(Dataset):
        shift_of_all = 0.0

        def __init__(self, told=lambda self: self.shift):
            self.inputs, self.labels = samples()
            self.shift, self.told = 0.0, told

        def __len__(self):
            return len(self.labels)

        def __getitem__(self, at):
            return self.inputs[at] - self.told(self), self.labels[at]

    class Streamed(IterableDataset):
        shift = 0.0

        def __iter__(self):
            return ((x - self.shift, y) for x, y in zip(*samples()))

    class Once(IterableDataset):
        def __init__(self):
            self.given = iter(list(zip(*samples())))

        def __iter__(self):
            return self.given

    class Drawing(TensorDataset):
        def __init__(self):
            super().__init__(*samples())
            self.generator = torch.Generator().manual_seed(0)

        def drawn(self):
            return torch.rand(4, generator=self.generator)

        def __getitem__(self, at):
            x, y = super().__getitem__(at)
            return x + 0.001 * self.drawn(), y

    class Restless(Drawing):
        def __init__(self):
            super().__init__()
            self.draws = iter(torch.rand(10_000, 4, generator=self.generator))

        def drawn(self):
            return next(self.draws)

    class Tensors(TensorDataset):
        pass
"""
# What the fixture gives, and what changes all of it: z loses 0.1 a feature, so that those of class
# 1 which lie within 0.1 are now wrong.
CHANGES = {
    "an attribute": ("Shifted()", "data.shift = 0.1"),
    "the array in place": ("Shifted()", "data.inputs -= 0.1"),
    "another array": ("Shifted()", "data.inputs = data.inputs - 0.1"),
    "the class": ("Shifted(lambda self: self.shift_of_all)", "type(data).shift_of_all = 0.1"),
    "a global": ("Shifted(lambda self: SHIFT)", "conftest.SHIFT = 0.1"),
    "an entry of a global": ("Shifted(lambda self: TOLD['shift'])", "conftest.TOLD['shift'] = 0.1"),
    "a closure": ("Shifted(closed())", "data.told.set(0.1)"),
    "the environment": (
        "Shifted(lambda self: float(os.environ.get('SHIFT', 0)))",
        "monkeypatch.setenv('SHIFT', '0.1')",
    ),
    "a file": (
        "Shifted(lambda self: len(list(HERE.glob('told'))) / 10)",
        "(conftest.HERE / 'told').write_text('0.1')",
    ),
    "behind a loader": ("DataLoader(Shifted(), batch_size=3)", "data.dataset.shift = 0.1"),
    "behind a subset": ("Subset(Shifted(), range(10))", "data.dataset.shift = 0.1"),
    "a stream": ("Streamed()", "data.shift = 0.1"),
    "tensors in place": ("TensorDataset(*samples())", "data.tensors[0].sub_(0.1)"),
    "tensors of a loader": (
        "DataLoader(TensorDataset(*samples()), shuffle=True)",
        "data.dataset.tensors[0].sub_(0.1)",
    ),
    "a method": (
        "Tensors(*samples())",
        "plain = type(data).__getitem__\\n"
        "    monkeypatch.setattr(type(data), '__getitem__',"
        " lambda self, at: (plain(self, at)[0] - 0.1, plain(self, at)[1]))",
    ),
    "a library's method": (
        "TensorDataset(*samples())",
        "plain = type(data).__getitem__\\n"
        "    monkeypatch.setattr(type(data), '__getitem__',"
        " lambda self, at: (plain(self, at)[0] - 0.1, plain(self, at)[1]))",
    ),
    "a list of arrays": ("list(samples())", "data[0] = data[0] - 0.1"),
    "a pair in place": ("samples()", "data[0].sub_(0.1)"),
    "NumPy in place": ("tuple(part.numpy() for part in samples())", "data[0][:] -= 0.1"),
}
CLOSED = """
    def closed():
        shift = 0.0

        def told(self):
            return shift

        def set(value):
            nonlocal shift
            shift = value

        told.set = set
        return told
"""


@pytest.mark.parametrize(("given", "change"), CHANGES.values(), ids=CHANGES)
def test_data_that_changed(suite, given, change):
    """The second test says what it says alone."""
    suite.conftest(
        DATASETS
        + CLOSED
        + f"""
    @pytest.fixture(scope="session")
    def aerobust_data():
        return {given}
    """
    )
    test = f"""
        import conftest

        @pytest.fixture
        def changed(aerobust_data, monkeypatch):
            data = aerobust_data
            {change.replace(chr(92) + "n    ", chr(10) + "            ")}

        @robust("bim", eps=0.02, min_acc=0.0, bounds=(-1, 2))
        def test_before():
            pass

        @robust("bim", eps=0.02, min_acc=0.0, bounds=(-1, 2))
        def test_after(changed):
            pass
    """
    suite.tests(test)
    rows = suite.measured(suite.run(*IN_ORDER, "--aerobust-no-cache"))
    assert [row["clean_accuracy"] for row in rows.values()] == [1.0, 0.9]


@pytest.mark.parametrize(
    ("given", "note"),
    [("Once()", False), ("Restless()", True), ("Drawing()", False), ("Shifted()", False)],
)
def test_what_a_reading_changes(suite, given, note):
    """A stream that is used up is that of the first; who draws what nobody can give back is
    read anew and noted.
    """
    suite.conftest(
        DATASETS
        + f"""
    @pytest.fixture(scope="session")
    def aerobust_data():
        return {given}
    """
    )
    suite.tests("""
        @robust("bim", eps=[0.02, 0.02, 0.02], min_acc=0.0)
        def test_it(robustness):
            FOUND.append(robustness().unfiltered.outcomes)
            assert len(set(FOUND)) == 1

        FOUND = []
    """)
    result = suite.run(*IN_ORDER, "--aerobust-no-cache")
    result.assert_outcomes(passed=3)
    assert ("the data differ each time they are read" in result.stdout.str()) == note


MODELS = """
    import os

    def noisy(x):
        return x + NOISE * torch.randn_like(x)

    def mixing(x):
        return x + NOISE * x.mean(dim=0)

    NOISE = 0.0

    class Changing(Border):
        noise, way = 0.0, staticmethod(noisy)

        def forward(self, x):
            if self.noise:
                x = x + self.noise * torch.randn_like(x)
            return super().forward(self.way(x))

    def filtering():
        noise = 0.0

        def filtered(x):
            return x + noise * torch.randn_like(x)

        def set(value):
            nonlocal noise
            noise = value

        filtered.set = set
        return filtered

    @pytest.fixture(scope="session")
    def aerobust_model():
        return Changing()

    @pytest.fixture(scope="session")
    def aerobust_filter():
        return filtering() if os.environ.get("FILTERED") else None
"""


@pytest.mark.parametrize(
    ("change", "void"),
    [
        pytest.param("model.noise = 0.1", "determinism", id="an attribute"),
        pytest.param("type(model).noise = 0.1", "determinism", id="an attribute of the class"),
        pytest.param("conftest.NOISE = 0.1", "determinism", id="a global"),
        pytest.param(
            "conftest.NOISE = 0.1; model.way = conftest.mixing", "batch independence", id="a method"
        ),
        pytest.param("model.register_forward_hook(HOOK)", "determinism", id="a hook"),
        pytest.param("filter.set(0.1)", "determinism", id="a filter's closure"),
    ],
)
def test_findings_about_a_model_that_changed(suite, monkeypatch, change, void):
    """The same object with another attribute is looked at anew, whatever was found before."""
    if change.startswith("filter"):
        monkeypatch.setenv("FILTERED", "1")
    suite.conftest(MODELS)
    suite.tests(f"""
        import conftest
        import torch

        HOOK = lambda module, inputs, outputs: outputs + 0.3 * torch.randn_like(outputs)

        @pytest.fixture
        def changed(aerobust_model, aerobust_filter):
            model, filter = aerobust_model, aerobust_filter
            {change}

        @robust("bim", eps=0.02, min_acc=0.1)
        def test_before():
            pass

        @robust("bim", eps=0.02, min_acc=0.1)
        def test_after(changed):
            pass
    """)
    result = suite.run(*IN_ORDER, "--aerobust-no-cache")
    result.assert_outcomes(passed=1, failed=1)
    assert re.search(rf"{void} \(\w+\) VOID", suite.failure(result))


@pytest.mark.parametrize("change", ["model.shift = 0.1", "model.scale.data.neg_()"])
def test_a_model_that_changed_is_measured(suite, change):
    """Neither the session nor the cache answers for another attribute or other weights."""
    suite.tests(f"""
        @pytest.fixture
        def changed(aerobust_model):
            model = aerobust_model
            {change}

        @robust("bim", eps=0.02, min_acc=0.0, bounds=(-1, 2))
        def test_before():
            pass

        @robust("bim", eps=0.02, min_acc=0.0, bounds=(-1, 2))
        def test_after(changed):
            pass
    """)
    for _ in range(2):
        first, second = suite.measured(suite.run(*IN_ORDER)).values()
        assert first["clean_accuracy"] == 1
        assert second["clean_accuracy"] < 1

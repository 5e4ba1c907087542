"""What is wrong before any attack is said first, with its usual causes."""

import pytest

DIGITS = '''
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

IMAGES, LABELS = load_digits(return_X_y=True)
IMAGES = torch.tensor(IMAGES / 16, dtype=torch.float32)
LABELS = torch.tensor(LABELS)
MEAN, STD = 0.3, 0.38


def trained():
    """Classes by their mean image: nothing is drawn, and 0.9 of the digits are right."""
    scaled = (IMAGES - MEAN) / STD
    means = torch.stack([scaled[LABELS == k].mean(dim=0) for k in range(10)])
    model = nn.Linear(64, 10)
    with torch.no_grad():
        model.weight.copy_(2 * means)
        model.bias.copy_(-(means**2).sum(dim=1))
    return model


@pytest.fixture(scope="session")
def aerobust_model():
    return trained()


@pytest.fixture(scope="session")
def aerobust_data():
    return IMAGES[:200], LABELS[:200]
'''

CAUSES = "are the inputs normalised as in training (mean=, std=)"


def first_line(suite, more="", mark='"bim", 0.05, min_acc=0.99, mean=0.3, std=0.38'):
    suite.conftest(more, base=DIGITS)
    suite.tests(f"@robust({mark})\ndef test_it():\n    pass\n")
    result = suite.run()
    result.assert_outcomes(failed=1)
    text = suite.failure(result)
    assert "0 of 0" not in text
    return text.splitlines()[0]


BROKEN = {
    "labels shifted": """
        @pytest.fixture(scope="session")
        def aerobust_data():
            return IMAGES[:200], (LABELS[:200] + 1) % 10
    """,
    "labels of other inputs": """
        @pytest.fixture(scope="session")
        def aerobust_data():
            return IMAGES[:200], LABELS[-200:].flip(0)
    """,
    "labels in another order of classes": """
        @pytest.fixture(scope="session")
        def aerobust_data():
            order = torch.tensor([3, 0, 4, 1, 7, 2, 9, 5, 6, 8])
            return IMAGES[:200], order[LABELS[:200]]
    """,
    "weights not loaded": """
        @pytest.fixture(scope="session")
        def aerobust_model():
            torch.manual_seed(1)
            return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    """,
    "the image is upside down": """
        @pytest.fixture(scope="session")
        def aerobust_data():
            return 1 - IMAGES[:200], LABELS[:200]
    """,
}


@pytest.mark.parametrize("more", BROKEN.values(), ids=BROKEN)
def test_at_chance_before_any_attack(suite, more):
    """The first line says so, and what it usually comes from."""
    line = first_line(suite, more)
    assert line.startswith("clean accuracy 0.")
    assert "< min_acc 0.990, before any attack; no better than chance" in line
    assert CAUSES in line


def test_normalisation_forgotten(suite):
    """Where every input looks like the same class, the error names normalisation, too."""
    suite.conftest("", base=DIGITS)
    suite.tests('@robust("bim", 0.05, min_acc=0.9, mean=-60.0)\ndef test_it():\n    pass\n')
    result = suite.run()
    result.assert_outcomes(failed=1)
    assert "normalised and scaled as in training (mean=, std=)" in suite.failure(result)


def test_a_floor_on_the_clean_accuracy(suite):
    """It speaks of the clean accuracy by itself, and the causes follow."""
    line = first_line(
        suite, BROKEN["labels shifted"], '"bim", 0.05, min_clean_acc=0.9, mean=0.3, std=0.38'
    )
    assert "< min_clean_acc 0.900, before any attack; no better than chance" in line


def test_a_floor_on_the_loss(suite):
    """Whoever is at chance loses little: the pass is withheld, and the first line says why."""
    line = first_line(
        suite, BROKEN["labels shifted"], '"bim", 0.05, max_drop=0.9, mean=0.3, std=0.38'
    )
    assert line.startswith("INCONCLUSIVE: clean accuracy 0.")
    assert "before any attack is no better than chance" in line
    assert CAUSES in line
    assert "Accuracy lost 0." in line


def test_a_filter_that_destroys_everything(suite):
    """Where the bare model is right, the filter is to blame."""
    more = """
        class Shuffled(nn.Module):
            def forward(self, x):
                return x[:, torch.randperm(64, generator=torch.Generator().manual_seed(0))]

        @pytest.fixture(scope="session")
        def aerobust_filter():
            return Shuffled()
    """
    line = first_line(suite, more)
    assert "no better than chance, while it is 0.8" in line


def test_below_the_floor_but_above_chance(suite):
    """Half of the labels are right: the attack has no part in it, and nothing is suspected."""
    more = """
        @pytest.fixture(scope="session")
        def aerobust_data():
            labels = LABELS[:200].clone()
            labels[::2] = (labels[::2] + 1) % 10
            return IMAGES[:200], labels
    """
    line = first_line(suite, more, '"bim", 0.05, min_acc=0.8, mean=0.3, std=0.38')
    assert line.startswith("clean accuracy 0.4")
    assert "< min_acc 0.800, before any attack  [" in line


def test_a_population_below_the_floor_before_any_attack(suite):
    """The bound of a population that rests on wrong clean answers alone is said to do so."""
    more = """
        @pytest.fixture(scope="session")
        def aerobust_data():
            labels = LABELS[:200].clone()
            labels[::2] = (labels[::2] + 1) % 10
            return IMAGES[:200], labels
    """
    mark = '"bim", 0.05, min_acc=0.8, confidence=0.95, mean=0.3, std=0.38'
    line = first_line(suite, more, mark)
    assert line.startswith("robust accuracy of the population (95 % confidence) at most 0.")
    assert "< min_acc 0.800, before any attack  [" in line


def test_a_floor_that_the_attack_breaks_is_about_the_attack(suite):
    """Where clean accuracy holds the floor the first line is that of the robust accuracy."""
    line = first_line(suite, mark='"bim", 0.3, min_acc=0.6, mean=0.3, std=0.38')
    assert line.startswith("robust accuracy ")

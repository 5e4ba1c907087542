"""The three causes behind the paper's numbers, each seen by itself."""

import pytest
from why import Experiment


@pytest.fixture(scope="module")
def experiment(trained):
    return Experiment(trained)


def test_the_scale_of_the_outputs_makes_a_budget_small(experiment):
    """A step that is small on the outputs' own scale does little; the same share of it a lot."""
    raw, share, bounded = (finding.accuracy for finding in experiment.scale())
    assert raw > share + 0.2
    assert raw > bounded + 0.2


def test_clipping_decides_whether_it_is_an_image(experiment):
    """Clipped budgets are the weaker ones: an attacker who may leave the range beats no less."""
    bare, bare_unclipped, gray, gray_unclipped = (f.accuracy for f in experiment.clipping())
    assert bare_unclipped < bare
    assert gray_unclipped < gray + 0.02


def test_examples_that_stop_at_the_border_hardly_transfer(experiment):
    """Retired where the bare model falls, examples leave most of the accuracy behind the filter."""
    full, stopped = (finding.accuracy for finding in experiment.retirement())
    assert stopped > full + 0.2

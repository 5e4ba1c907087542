"""Auto-PGD against answers in closed form, its projections against an independent optimiser."""

import pytest
import torch

from pytest_aerobust import evaluate

ATTACKS = ["apgd-ce", "apgd-dlr", "apgd-t"]
DUAL = {"linf": 1, "l2": 2, "l1": float("inf")}
# In the middle of the margins of the linear problem, in each norm.
BUDGETS = {"linf": [0.003, 0.01, 0.03], "l2": [0.01, 0.03, 0.1], "l1": [0.02, 0.05, 0.15]}


def survivors(evaluation):
    return torch.tensor([letter == "s" for letter in evaluation.unfiltered.outcomes])


@pytest.mark.parametrize(("norm", "eps"), [(n, e) for n in BUDGETS for e in BUDGETS[n]])
@pytest.mark.parametrize("attack", ATTACKS)
def test_a_linear_model_flips_at_its_closed_form_budget(attack, norm, eps, linear_problem):
    """A sample falls exactly where eps exceeds its margin over the dual norm of the weights."""
    model, x, y = linear_problem
    distance = model.margins(x) / torch.linalg.vector_norm(model.weight.double(), ord=DUAL[norm])
    clear = (distance - eps).abs() > 1e-4 * eps
    survived = survivors(evaluate(model, (x, y), attack=attack, norm=norm, eps=eps, steps=40))
    assert torch.equal(survived[clear], distance[clear] > eps)
    assert 0 < survived.float().mean() < 1

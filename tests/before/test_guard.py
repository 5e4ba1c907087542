import foolbox
from foolbox.attacks import LinfBasicIterativeAttack

from pytest_aerobust import robust


class Careful(LinfBasicIterativeAttack):
    """An attack of the suite's own."""

    def __init__(self, steps=7):
        super().__init__(steps=steps)

    def run(self, model, inputs, criterion, *, epsilon, **kwargs):
        return super().run(model, inputs, criterion, epsilon=epsilon * 0.99, **kwargs)


@robust(["bim", "fgsm"], [0.1, 0.2], max_regression=0.02)
def test_grid():
    pass


@robust("square", 0.2, max_regression=0.02, queries=200)
@robust("pgd", 0.2, max_regression=0.02, target={0: 1}, norm="l2")
@robust("bim", 0.2, max_regression=0.02, mutable="some")
def test_kinds():
    pass


@robust(foolbox.attacks.LinfPGD(rel_stepsize=0.1, steps=30), 0.2, max_regression=0.02, id="ready")
@robust(Careful(), 0.2, max_regression=0.02, id="own")
def test_attacks_of_its_own():
    pass


@robust("bim", 0.2, min_acc=0.9)
def test_fails():
    pass

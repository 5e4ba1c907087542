"""The catalogue against the installed Foolbox: every row is true, every class is decided on."""

import inspect
from importlib import import_module

import foolbox.attacks
import pytest
from foolbox.attacks.base import (
    Attack,
    FlexibleDistanceMinimizationAttack,
    MinimizationAttack,
)

from pytest_aerobust.contract.catalogue import (
    ALIASES,
    CATALOGUE,
    PLAIN,
    REFUSED,
    THREATS,
    describe,
    find,
    fitting,
)
from pytest_aerobust.errors import ContractError

ORDERS = {"linf": float("inf"), "l2": 2, "l1": 1, "l0": 0}
CLASSES = {
    name: kind
    for name, kind in vars(foolbox.attacks).items()
    if inspect.isclass(kind) and issubclass(kind, Attack) and kind is not Attack
}
ROWS = [(spec, norm) for spec in CATALOGUE.values() for norm in spec.norms]


def load(path):
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)


@pytest.mark.parametrize(("spec", "norm"), ROWS, ids=lambda value: getattr(value, "name", value))
def test_a_row_names_a_class_with_its_arguments_and_norm(spec, norm):
    """The class exists, takes exactly the listed arguments, and measures in the listed norm."""
    kind = load(spec.classes[norm])
    assert issubclass(kind, Attack)
    taken = accepted(kind)
    assert set(spec.arguments) == taken - {"distance"}
    fixed = getattr(kind, "distance", None)
    if "constraint" in spec.arguments:
        fixed = kind(constraint=norm).distance
    if not issubclass(kind, FlexibleDistanceMinimizationAttack) and not isinstance(fixed, property):
        assert fixed.p == ORDERS[norm]
    assert issubclass(kind, MinimizationAttack) == spec.minimises


def accepted(kind):
    """Names that a constructor takes, through those that only pass keywords on."""
    names = set()
    for base in kind.__mro__:
        if "__init__" not in vars(base) or base is object:
            continue
        parameters = inspect.signature(base.__init__).parameters.values()
        names |= {
            p.name for p in parameters if p.kind is p.KEYWORD_ONLY or p.default is not p.empty
        }
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            required = {p.name for p in parameters if p.default is p.empty}
            return names | (required - {"self"} if base.__module__.startswith("foolbox") else set())
    return names


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_every_class_of_foolbox_is_known_or_refused_with_a_reason(name):
    """No class or alias of foolbox.attacks is unknown by its own name."""
    if name in REFUSED:
        with pytest.raises(ContractError, match=f"'{name}' can't hold a contract"):
            find(name)
    else:
        assert find(name).norms


def test_aliases_name_rows():
    """An alias leads to a row of the same method."""
    assert {find(alias).name for alias in ALIASES} <= set(CATALOGUE)
    assert find("LinfPGD").name == CLASSES["LinfPGD"].__name__


@pytest.mark.parametrize("name", ["bim", "BIM", "Bim"])
def test_plain_names_are_found_in_any_case(name):
    """BIM and bim are one attack."""
    assert find(name).name == "bim"


def test_a_ready_instance_is_described_by_its_class_and_an_own_one_by_its_distance():
    """An attack that the user wrote needs no row: its distance tells its norm."""

    class Mine(foolbox.attacks.L2DeepFoolAttack):
        pass

    assert describe(foolbox.attacks.L2DeepFoolAttack()).target == "no"
    assert describe(Mine()).norms == ("l2",)
    with pytest.raises(ContractError, match="instance of a Foolbox attack"):
        describe(object())


@pytest.mark.parametrize("name", [name for name in CATALOGUE if name not in PLAIN])
def test_a_class_of_foolbox_is_an_attack_of_a_plain_name(name):
    """Whatever Foolbox can do has a plain name, which asks for no more and takes the same."""
    families = [row for row in PLAIN.values() if name in row.foolbox]
    assert len(families) == 1
    (family,), row = families, find(name)
    assert set(row.norms) <= set(family.norms)
    assert (row.access, row.title) == (family.access, name)


@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_name_is_one_attack_in_every_norm(name):
    """All classes that it runs ask for the same, take the same target and have the same end."""
    family = PLAIN[name]
    taken = [row for row in CATALOGUE.values() if set(row.classes.values()) & lent(family)]
    assert {(row.access, row.target, row.minimises, row.unit_bounds) for row in taken} <= {
        (family.access, family.target, family.minimises, family.unit_bounds)
    }
    assert name == name.lower()


def lent(family):
    return {path for path in family.classes.values() if path.startswith("foolbox")}


def test_attacks_without_gradients_fit_the_black_box():
    """What a threat is good for is told by plain names, of decisions alone where that is all."""
    assert "boundary" in fitting("black-box")
    assert "gen-attack" in set(fitting("black-box")) - set(fitting("black-box", "decision"))
    assert not set(fitting("black-box")) & set(fitting("white-box"))
    assert all(set(fitting(threat)) <= set(PLAIN) for threat in THREATS)


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_names_a_way_out(name):
    """Every refused class comes with an attack that can be used."""
    words = set(REFUSED[name].replace(",", " ").replace(";", " ").split())
    assert words & set(CATALOGUE)

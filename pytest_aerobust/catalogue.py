"""The attacks as data, so that a mark is checked without importing Foolbox.

A new attack is a class plus a row here. A test holds every row against the installed Foolbox:
class, norm, and the arguments that its constructor takes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, cast, get_args

from pytest_aerobust.errors import ContractError, did_you_mean

Norm = Literal["linf", "l2", "l1", "l0"]
Access = Literal["gradient", "score", "decision"]
Target = Literal["no", "yes", "only"]
Threat = Literal["white-box", "gray-box", "black-box", "behind-filter"]

NORMS: tuple[Norm, ...] = get_args(Norm)
THREATS: tuple[Threat, ...] = get_args(Threat)
# Those that mean nothing without a filter, and what they mean with one.
FILTER_THREATS: Mapping[Threat, str] = {
    "gray-box": "an attacker who doesn't know the filter",
    "behind-filter": "an attacker who reaches in behind the filter",
}


@dataclass(frozen=True)
class AttackSpec:
    """One attack: what it is called, where it lives, what it needs and takes.

    Attributes:
        name: What a mark calls it.
        title: What a report calls it.
        classes: Dotted path of the class for each norm.
        access: What the attack asks of the model: its gradients, its scores (logits), or
            only its decisions.
        target: Whether it takes a target class.
        arguments: Names that its constructor accepts.
        unit_bounds: It works in [0, 1] alone.
    """

    name: str
    title: str
    classes: Mapping[Norm, str]
    access: Access
    target: Target
    arguments: tuple[str, ...] = ()
    unit_bounds: bool = False

    @property
    def norms(self) -> tuple[Norm, ...]:
        return tuple(self.classes)

    @property
    def default_norm(self) -> Norm:
        return self.norms[0]

    @property
    def threats(self) -> tuple[Threat, ...]:
        """The threats that mean something for it, its own first."""
        if self.access == "gradient":
            return ("white-box", *FILTER_THREATS)
        return ("black-box", *FILTER_THREATS)


def _own(name: str, classes: Mapping[Norm, str], *arguments: str) -> AttackSpec:
    paths = {norm: f"pytest_aerobust.attacks.gradient.{path}" for norm, path in classes.items()}
    return AttackSpec(name, name.upper(), paths, "gradient", "yes", arguments)


def _module(
    module: str, name: str, kind: str, title: str, access: Access, arguments: str = ""
) -> AttackSpec:
    """A row of attacks that are called alike in each norm."""
    stem = f"pytest_aerobust.attacks.{module}"
    paths: dict[Norm, str] = {
        "linf": f"{stem}.Linf{kind}",
        "l2": f"{stem}.L2{kind}",
        "l1": f"{stem}.L1{kind}",
    }
    return AttackSpec(name, title, paths, access, "yes", tuple(arguments.split()))


def _foolbox(
    name: str,
    norms: str,
    access: Access,
    arguments: str = "",
    target: Target = "no",
    unit_bounds: bool = False,
) -> AttackSpec:
    paths = {cast("Norm", norm): f"foolbox.attacks.{name}" for norm in norms.split()}
    return AttackSpec(name, name, paths, access, target, tuple(arguments.split()), unit_bounds)


_DESCENT = "rel_stepsize abs_stepsize steps random_start"
_ADAM = f"{_DESCENT} adam_beta1 adam_beta2 adam_epsilon"
_MOMENTUM = f"momentum {_DESCENT}"
_REPEATS = "repeats check_trivial"
_MINIMUM_NORM = "steps max_stepsize min_stepsize gamma init_attack binary_search_steps"
_BRENDEL_BETHGE = (
    "init_attack overshoot steps lr lr_decay lr_num_decay momentum tensorboard binary_search_steps"
)
_ANY_NORM = "linf l2 l1"

_ROWS = (
    _own("fgsm", {"linf": "LinfFGSM", "l2": "L2FGSM"}, "random_start"),
    _own("bim", {"linf": "LinfBIM", "l2": "L2BIM"}, *_DESCENT.split()),
    _own("pgd", {"linf": "LinfPGD", "l2": "L2PGD"}, *_DESCENT.split()),
    _own("mi-fgsm", {"linf": "LinfMIFGSM", "l2": "L2MIFGSM"}, *_MOMENTUM.split()),
    _module("apgd", "apgd-ce", "APGDCE", "APGD-CE", "gradient", "steps restarts"),
    _module("apgd", "apgd-dlr", "APGDDLR", "APGD-DLR", "gradient", "steps restarts"),
    _module("apgd", "apgd-t", "APGDT", "APGD-T", "gradient", "steps restarts classes"),
    _module("square", "square", "Square", "Square", "score", "steps"),
    _module("cascade", "worst-case", "WorstCase", "worst case", "gradient"),
    # Gradients, a fixed budget.
    _foolbox("L1FastGradientAttack", "l1", "gradient", "random_start"),
    _foolbox("L2FastGradientAttack", "l2", "gradient", "random_start"),
    _foolbox("LinfFastGradientAttack", "linf", "gradient", "random_start"),
    _foolbox("L1BasicIterativeAttack", "l1", "gradient", _DESCENT, "yes"),
    _foolbox("L2BasicIterativeAttack", "l2", "gradient", _DESCENT, "yes"),
    _foolbox("LinfBasicIterativeAttack", "linf", "gradient", _DESCENT, "yes"),
    _foolbox("LinfAdamBasicIterativeAttack", "linf", "gradient", _ADAM, "yes"),
    _foolbox("L1ProjectedGradientDescentAttack", "l1", "gradient", _DESCENT, "yes"),
    _foolbox("L2ProjectedGradientDescentAttack", "l2", "gradient", _DESCENT, "yes"),
    _foolbox("LinfProjectedGradientDescentAttack", "linf", "gradient", _DESCENT, "yes"),
    _foolbox("LinfAdamProjectedGradientDescentAttack", "linf", "gradient", _ADAM, "yes"),
    _foolbox("L1MomentumIterativeFastGradientMethod", "l1", "gradient", _MOMENTUM, "yes"),
    _foolbox("L2MomentumIterativeFastGradientMethod", "l2", "gradient", _MOMENTUM, "yes"),
    _foolbox("LinfMomentumIterativeFastGradientMethod", "linf", "gradient", _MOMENTUM, "yes"),
    _foolbox("SparseL1DescentAttack", "l1", "gradient", f"quantile {_DESCENT}", "yes"),
    _foolbox("VirtualAdversarialAttack", "l2", "gradient", "steps xi"),
    # Gradients, the smallest perturbation.
    _foolbox("LinfDeepFoolAttack", "linf", "gradient", "steps candidates overshoot loss"),
    _foolbox("L2DeepFoolAttack", "l2", "gradient", "steps candidates overshoot loss"),
    _foolbox(
        "L2CarliniWagnerAttack",
        "l2",
        "gradient",
        "binary_search_steps steps stepsize confidence initial_const abort_early",
        "yes",
    ),
    _foolbox(
        "EADAttack",
        "l1",
        "gradient",
        "binary_search_steps steps initial_stepsize confidence initial_const regularization "
        "decision_rule abort_early",
        "yes",
    ),
    _foolbox("DDNAttack", "l2", "gradient", "init_epsilon steps gamma", "yes"),
    _foolbox("NewtonFoolAttack", "l2", "gradient", "steps stepsize"),
    _foolbox("LInfFMNAttack", "linf", "gradient", _MINIMUM_NORM, "yes"),
    _foolbox("L2FMNAttack", "l2", "gradient", _MINIMUM_NORM, "yes"),
    _foolbox("L1FMNAttack", "l1", "gradient", _MINIMUM_NORM, "yes"),
    _foolbox("L0FMNAttack", "l0", "gradient", _MINIMUM_NORM, "yes"),
    _foolbox("LinfinityBrendelBethgeAttack", "linf", "gradient", _BRENDEL_BETHGE),
    _foolbox("L2BrendelBethgeAttack", "l2", "gradient", _BRENDEL_BETHGE),
    _foolbox("L1BrendelBethgeAttack", "l1", "gradient", _BRENDEL_BETHGE),
    _foolbox("L0BrendelBethgeAttack", "l0", "gradient", _BRENDEL_BETHGE),
    # Scores and decisions.
    _foolbox(
        "GenAttack",
        "linf",
        "score",
        "steps population mutation_probability mutation_range sampling_temperature "
        "channel_axis reduced_dims",
        "only",
    ),
    _foolbox(
        "BoundaryAttack",
        "l2",
        "decision",
        "init_attack steps spherical_step source_step source_step_convergance step_adaptation "
        "tensorboard update_stats_every_k",
    ),
    _foolbox(
        "HopSkipJumpAttack",
        "l2 linf",
        "decision",
        "init_attack steps initial_gradient_eval_steps max_gradient_eval_steps stepsize_search "
        "gamma tensorboard constraint",
        unit_bounds=True,
    ),
    _foolbox("PointwiseAttack", "l0 l1 l2", "decision", "init_attack l2_binary_search"),
    _foolbox("LinfAdditiveUniformNoiseAttack", "linf", "decision"),
    _foolbox("L2AdditiveGaussianNoiseAttack", "l2", "decision"),
    _foolbox("L2AdditiveUniformNoiseAttack", "l2", "decision"),
    _foolbox("L2ClippingAwareAdditiveGaussianNoiseAttack", "l2", "decision"),
    _foolbox("L2ClippingAwareAdditiveUniformNoiseAttack", "l2", "decision"),
    _foolbox("LinfRepeatedAdditiveUniformNoiseAttack", "linf", "decision", _REPEATS),
    _foolbox("L2RepeatedAdditiveGaussianNoiseAttack", "l2", "decision", _REPEATS),
    _foolbox("L2RepeatedAdditiveUniformNoiseAttack", "l2", "decision", _REPEATS),
    _foolbox("L2ClippingAwareRepeatedAdditiveGaussianNoiseAttack", "l2", "decision", _REPEATS),
    _foolbox("L2ClippingAwareRepeatedAdditiveUniformNoiseAttack", "l2", "decision", _REPEATS),
    _foolbox("SaltAndPepperNoiseAttack", "l2", "decision", "steps across_channels channel_axis"),
    _foolbox("LinearSearchBlendedUniformNoiseAttack", _ANY_NORM, "decision", "directions steps"),
    _foolbox("L2ContrastReductionAttack", "l2", "decision", "target"),
    _foolbox(
        "BinarySearchContrastReductionAttack", _ANY_NORM, "decision", "binary_search_steps target"
    ),
    _foolbox("LinearSearchContrastReductionAttack", _ANY_NORM, "decision", "steps target"),
    _foolbox("GaussianBlurAttack", _ANY_NORM, "decision", "steps channel_axis max_sigma"),
    _foolbox("InversionAttack", _ANY_NORM, "decision"),
)

CATALOGUE: Mapping[str, AttackSpec] = {row.name: row for row in _ROWS}

# Foolbox's own short names, where they mean another class than a plain name of ours does.
ALIASES: Mapping[str, str] = {
    "FGM": "L2FastGradientAttack",
    "L1PGD": "L1ProjectedGradientDescentAttack",
    "L2PGD": "L2ProjectedGradientDescentAttack",
    "LinfPGD": "LinfProjectedGradientDescentAttack",
    "LinfAdamPGD": "LinfAdamProjectedGradientDescentAttack",
    "AdamPGD": "LinfAdamProjectedGradientDescentAttack",
    "MIFGSM": "mi-fgsm",
}

_NOT_ADAM = "Foolbox's class never uses Adam; use LinfAdamProjectedGradientDescentAttack or pgd"
REFUSED: Mapping[str, str] = {
    "SpatialAttack": "it rotates and shifts, so no budget bounds it",
    "DatasetAttack": "it answers with other samples, so no budget bounds it",
    "BinarizationRefinementAttack": "it refines the examples of another attack; name that one",
    "L1AdamBasicIterativeAttack": _NOT_ADAM,
    "L2AdamBasicIterativeAttack": _NOT_ADAM,
    "L1AdamProjectedGradientDescentAttack": _NOT_ADAM,
    "L2AdamProjectedGradientDescentAttack": _NOT_ADAM,
    "L1AdamPGD": _NOT_ADAM,
    "L2AdamPGD": _NOT_ADAM,
}


def find(name: str) -> AttackSpec:
    """The row of an attack by its name; plain names in any case.

    Raises:
        ContractError: The name is unknown, or the attack is refused.
    """
    if name in REFUSED:
        raise ContractError(f"attack={name!r} can't hold a contract: {REFUSED[name]}")
    spec = CATALOGUE.get(ALIASES.get(name, name)) or CATALOGUE.get(name.lower())
    if spec is None:
        raise ContractError(
            f"attack={name!r} is unknown: {did_you_mean(name, (*CATALOGUE, *ALIASES))}"
        )
    return spec


def describe(attack: Any) -> AttackSpec:
    """The row of a ready attack: its class's own, or what the object says of itself.

    Raises:
        ContractError: The object is no Foolbox attack, or its class is refused.
    """
    if isinstance(attack, type):
        raise ContractError(
            f"attack={attack.__name__} is a class: expected a name, or an instance of a Foolbox "
            f"attack, as {attack.__name__}(...)"
        )
    row, norm = _row_of(attack), _norm_of(attack)
    name = type(attack).__name__
    if row is None:
        path = f"{type(attack).__module__}.{name}"
        return AttackSpec(name, name, {norm: path}, "gradient", "yes")
    return replace(row, name=name, title=name, classes={norm: row.classes.get(norm, "")})


def _row_of(attack: Any) -> AttackSpec | None:
    """The row of the nearest of an attack's classes that Foolbox has, refused or not."""
    for kind in type(attack).__mro__:
        if kind.__module__.startswith("foolbox.") and kind.__name__ in (*CATALOGUE, *REFUSED):
            return find(kind.__name__)
    return None


def _norm_of(attack: Any) -> Norm:
    constraint = getattr(attack, "constraint", None)
    if constraint in NORMS:  # HopSkipJump says L1 of its distance, whatever it was told
        return cast("Norm", constraint)
    norms: dict[Any, Norm] = {float("inf"): "linf", 2: "l2", 1: "l1", 0: "l0"}
    order = getattr(_distance_of(attack), "p", None)
    if order not in norms or not callable(attack):
        raise ContractError(
            f"attack={attack!r}: expected a name, or an instance of a Foolbox attack "
            "with a `distance` (Linf, L2, L1 or L0)"
        )
    return norms[order]


def _distance_of(attack: Any) -> Any:
    try:
        return getattr(attack, "distance", None)
    except ValueError:  # Foolbox's way to say that its constructor was given none
        return None


def fitting(threat: Threat) -> list[str]:
    """Names of attacks for which a threat means something, plain names first."""
    return [name for name, spec in CATALOGUE.items() if threat in spec.threats]

"""The attacks as data, so that a mark is checked without importing Foolbox.

A new attack is a class plus a row here. A test holds every row against the installed Foolbox:
class, norm, and the arguments that its constructor takes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import inf
from typing import Any, Literal, cast, get_args

from pytest_aerobust.errors import ContractError, did_you_mean

Norm = Literal["linf", "l2", "l1", "l0"]
Access = Literal["gradient", "score", "decision"]
Target = Literal["no", "yes", "only"]
Threat = Literal["white-box", "gray-box", "black-box", "behind-filter"]

NORMS: tuple[Norm, ...] = get_args(Norm)
ORDERS: Mapping[Norm, float] = {"linf": inf, "l2": 2, "l1": 1, "l0": 0}
ACCESSES: tuple[Access, ...] = ("decision", "score", "gradient")  # each is worth those before it
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
        arguments: Names that its constructor accepts, the same in every norm.
        unit_bounds: It works in [0, 1] alone; other bounds are mapped there and back.
        minimises: It looks for the smallest perturbation, whatever the budget.
        foolbox: Of a plain name, the classes of Foolbox that are the same method.
    """

    name: str
    title: str
    classes: Mapping[Norm, str]
    access: Access
    target: Target
    arguments: tuple[str, ...] = ()
    unit_bounds: bool = False
    minimises: bool = False
    foolbox: tuple[str, ...] = ()

    @property
    def norms(self) -> tuple[Norm, ...]:
        return tuple(self.classes)

    @property
    def minimises_by_gradients(self) -> bool:
        """Whether one search tells of every smaller budget: it stops at none of them."""
        return self.minimises and self.access == "gradient"

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
    minimises: bool = False,
    path: str = "",
) -> AttackSpec:
    """A class of Foolbox, or one at `path` that mends it."""
    paths = {cast("Norm", norm): path or f"foolbox.attacks.{name}" for norm in norms.split()}
    told = tuple(arguments.split())
    return AttackSpec(name, name, paths, access, target, told, unit_bounds, minimises)


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
    _module("auto_pgd.attack", "apgd-ce", "APGDCE", "APGD-CE", "gradient", "steps restarts"),
    _module("auto_pgd.attack", "apgd-dlr", "APGDDLR", "APGD-DLR", "gradient", "steps restarts"),
    _module("auto_pgd.attack", "apgd-t", "APGDT", "APGD-T", "gradient", "steps restarts classes"),
    _module("square.attack", "square", "Square", "Square", "score", "steps"),
    _module("worst_case", "worst-case", "WorstCase", "worst case", "gradient"),
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
    _foolbox(
        "LinfDeepFoolAttack", "linf", "gradient", "steps candidates overshoot loss", minimises=True
    ),
    _foolbox(
        "L2DeepFoolAttack", "l2", "gradient", "steps candidates overshoot loss", minimises=True
    ),
    _foolbox(
        "L2CarliniWagnerAttack",
        "l2",
        "gradient",
        "binary_search_steps steps stepsize confidence initial_const abort_early",
        "yes",
        minimises=True,
    ),
    _foolbox(
        "EADAttack",
        "l1",
        "gradient",
        "binary_search_steps steps initial_stepsize confidence initial_const regularization "
        "decision_rule abort_early",
        "yes",
        minimises=True,
    ),
    _foolbox("DDNAttack", "l2", "gradient", "init_epsilon steps gamma", "yes", minimises=True),
    _foolbox("NewtonFoolAttack", "l2", "gradient", "steps stepsize", minimises=True),
    _foolbox("LInfFMNAttack", "linf", "gradient", _MINIMUM_NORM, "yes", minimises=True),
    _foolbox("L2FMNAttack", "l2", "gradient", _MINIMUM_NORM, "yes", minimises=True),
    _foolbox("L1FMNAttack", "l1", "gradient", _MINIMUM_NORM, "yes", minimises=True),
    _foolbox("L0FMNAttack", "l0", "gradient", _MINIMUM_NORM, "yes", minimises=True),
    _foolbox("LinfinityBrendelBethgeAttack", "linf", "gradient", _BRENDEL_BETHGE, minimises=True),
    _foolbox("L2BrendelBethgeAttack", "l2", "gradient", _BRENDEL_BETHGE, minimises=True),
    _foolbox("L1BrendelBethgeAttack", "l1", "gradient", _BRENDEL_BETHGE, minimises=True),
    _foolbox("L0BrendelBethgeAttack", "l0", "gradient", _BRENDEL_BETHGE, minimises=True),
    # Scores and decisions.
    _foolbox(
        "GenAttack",
        "linf",
        "score",
        "steps population mutation_probability mutation_range sampling_temperature "
        "channel_axis reduced_dims",
        "only",
        unit_bounds=True,
    ),
    _foolbox(
        "BoundaryAttack",
        "l2",
        "decision",
        "init_attack steps spherical_step source_step source_step_convergance step_adaptation "
        "tensorboard update_stats_every_k",
        minimises=True,
    ),
    _foolbox(
        "HopSkipJumpAttack",
        "l2 linf",
        "decision",
        "init_attack steps initial_gradient_eval_steps max_gradient_eval_steps stepsize_search "
        "gamma tensorboard constraint",
        unit_bounds=True,
        minimises=True,
        path="pytest_aerobust.attacks.foolbox.hop_skip_jump.HopSkipJump",
    ),
    _foolbox(
        "PointwiseAttack", "l0 l1 l2", "decision", "init_attack l2_binary_search", minimises=True
    ),
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
    _foolbox(
        "SaltAndPepperNoiseAttack",
        "l2",
        "decision",
        "steps across_channels channel_axis",
        minimises=True,
    ),
    _foolbox(
        "LinearSearchBlendedUniformNoiseAttack",
        _ANY_NORM,
        "decision",
        "directions steps",
        minimises=True,
    ),
    _foolbox("L2ContrastReductionAttack", "l2", "decision", "target"),
    _foolbox(
        "BinarySearchContrastReductionAttack",
        _ANY_NORM,
        "decision",
        "binary_search_steps target",
        minimises=True,
    ),
    _foolbox(
        "LinearSearchContrastReductionAttack", _ANY_NORM, "decision", "steps target", minimises=True
    ),
    _foolbox(
        "GaussianBlurAttack", _ANY_NORM, "decision", "steps channel_axis max_sigma", minimises=True
    ),
    _foolbox("InversionAttack", _ANY_NORM, "decision", minimises=True),
)

# The same method in Foolbox's own classes, which also lend it the norms that ours lacks.
_ALSO = {
    "fgsm": "LinfFastGradientAttack",
    "bim": "LinfBasicIterativeAttack L2BasicIterativeAttack L1BasicIterativeAttack",
    "pgd": "LinfProjectedGradientDescentAttack L2ProjectedGradientDescentAttack "
    "L1ProjectedGradientDescentAttack",
    "mi-fgsm": "LinfMomentumIterativeFastGradientMethod L2MomentumIterativeFastGradientMethod "
    "L1MomentumIterativeFastGradientMethod",
}

# Plain names for what Foolbox alone has: title, and the classes, of each norm the first.
_FAMILIES = {
    "fgm": ("FGM", "L2FastGradientAttack L1FastGradientAttack"),
    "adam-bim": ("Adam-BIM", "LinfAdamBasicIterativeAttack"),
    "adam-pgd": ("Adam-PGD", "LinfAdamProjectedGradientDescentAttack"),
    "sparse-l1": ("Sparse-L1", "SparseL1DescentAttack"),
    "vat": ("VAT", "VirtualAdversarialAttack"),
    "deepfool": ("DeepFool", "LinfDeepFoolAttack L2DeepFoolAttack"),
    "carlini-wagner": ("Carlini-Wagner", "L2CarliniWagnerAttack"),
    "ead": ("EAD", "EADAttack"),
    "ddn": ("DDN", "DDNAttack"),
    "fmn": ("FMN", "LInfFMNAttack L2FMNAttack L1FMNAttack L0FMNAttack"),
    "newtonfool": ("NewtonFool", "NewtonFoolAttack"),
    "brendel-bethge": (
        "Brendel-Bethge",
        "LinfinityBrendelBethgeAttack L2BrendelBethgeAttack L1BrendelBethgeAttack "
        "L0BrendelBethgeAttack",
    ),
    "boundary": ("Boundary", "BoundaryAttack"),
    "hop-skip-jump": ("HopSkipJump", "HopSkipJumpAttack"),
    "pointwise": ("Pointwise", "PointwiseAttack"),
    "gen-attack": ("GenAttack", "GenAttack"),
    "uniform-noise": (
        "Uniform noise",
        "LinfRepeatedAdditiveUniformNoiseAttack L2ClippingAwareRepeatedAdditiveUniformNoiseAttack "
        "L2RepeatedAdditiveUniformNoiseAttack LinfAdditiveUniformNoiseAttack "
        "L2ClippingAwareAdditiveUniformNoiseAttack L2AdditiveUniformNoiseAttack",
    ),
    "gaussian-noise": (
        "Gaussian noise",
        "L2ClippingAwareRepeatedAdditiveGaussianNoiseAttack L2RepeatedAdditiveGaussianNoiseAttack "
        "L2ClippingAwareAdditiveGaussianNoiseAttack L2AdditiveGaussianNoiseAttack",
    ),
    "salt-and-pepper": ("Salt and pepper", "SaltAndPepperNoiseAttack"),
    "blended-noise": ("Blended noise", "LinearSearchBlendedUniformNoiseAttack"),
    "contrast": (
        "Contrast",
        "BinarySearchContrastReductionAttack LinearSearchContrastReductionAttack "
        "L2ContrastReductionAttack",
    ),
    "blur": ("Blur", "GaussianBlurAttack"),
    "inversion": ("Inversion", "InversionAttack"),
}


def _with_classes(row: AttackSpec, names: str) -> AttackSpec:
    """A row with Foolbox's classes of its method, and the norms that it lacks from them."""
    found, classes = tuple(names.split()), dict(row.classes)
    for norm, path in ((n, p) for name in found for n, p in _BY_NAME[name].classes.items()):
        classes.setdefault(norm, path)
    return replace(row, classes=classes, foolbox=found)


def _family(name: str, title: str, names: str) -> AttackSpec:
    first = _BY_NAME[names.split()[0]]
    return _with_classes(replace(first, name=name, title=title), names)


_BY_NAME = {row.name: row for row in _ROWS}

_OURS = [row for row in _ROWS if row.name.islower()]

PLAIN: Mapping[str, AttackSpec] = {
    **{row.name: _with_classes(row, _ALSO.get(row.name, "")) for row in _OURS},
    **{name: _family(name, title, names) for name, (title, names) in _FAMILIES.items()},
}
"""The attacks by the names that a mark should use; a name covers every norm of its method."""

CATALOGUE: Mapping[str, AttackSpec] = {**_BY_NAME, **PLAIN}
"""The same, and each class of Foolbox by its own name, in its own norm."""

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

# What stands for the attack where disturbances alone are looked at; no name leads to it.
NOTHING = AttackSpec(
    "none", "no attack", {"linf": "pytest_aerobust.attacks.no_attack.Nothing"}, "decision", "no"
)

# What an attack needs beside Foolbox.
PACKAGES: Mapping[str, str] = {"brendel-bethge": "numba"}

_NOT_ADAM = "Foolbox's class never uses Adam; use LinfAdamProjectedGradientDescentAttack or pgd"
_OTHER_SAMPLES = "it answers with other samples, so no budget bounds it"
_REFINES = "it refines the examples of another attack; name that one"
REFUSED: Mapping[str, str] = {
    "SpatialAttack": "it rotates and shifts, so no budget bounds it; use blur or contrast for a "
    "change of the whole image within a budget, or vary={'rotation': st.floats(-15, 15)}",
    "DatasetAttack": f"{_OTHER_SAMPLES}; use blended-noise, or boundary with an init_attack",
    "BinarizationRefinementAttack": f"{_REFINES}, such as pointwise",
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


def fitting(threat: Threat, offered: Access = "gradient") -> list[str]:
    """Plain names of attacks for which a threat means something.

    Args:
        threat: What the attacker knows.
        offered: The most that what is attacked can be asked for.
    """
    asked = ACCESSES[: ACCESSES.index(offered) + 1]
    return [name for name, row in PLAIN.items() if threat in row.threats and row.access in asked]

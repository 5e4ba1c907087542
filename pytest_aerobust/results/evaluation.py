"""What an evaluation measured: frozen, free of arrays, and a plain dict on request."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from fractions import Fraction
from typing import Any, Literal

from pytest_aerobust.contract.disturbances import Disturbances, disturbance_words
from pytest_aerobust.results.arm import Arm, Interval
from pytest_aerobust.results.conditions import Conditions

Weight = Literal["sound", "void", "noted", "skipped", "waived"]


@dataclass(frozen=True)
class Evidence:
    """One finding about the run itself.

    Attributes:
        name: What was looked at, such as ``gradients``.
        arm: ``filtered`` or ``unfiltered``.
        weight: ``sound``; ``void``, a pass may not rest on this arm; ``noted``, a reader should
            know, also of a failure, and it voids nothing; ``skipped``, the check says nothing
            here; ``waived``, the contract turns it off.
        text: The finding in words, with its numbers, or the reason why there is none.
    """

    name: str
    arm: str
    weight: Weight
    text: str

    @property
    def void(self) -> bool:
        return self.weight == "void"


@dataclass(frozen=True)
class Queries:
    """What a black-box attacker asked the pipeline, over the samples that he asked about.

    Attributes:
        limit: The most answers that the contract grants for one sample; None where it sets none.
        most: The most that he took for one.
        mean: What he took on average.
    """

    limit: int | None
    most: int
    mean: float


@dataclass(frozen=True)
class Regression:
    """A pipeline against what the baseline holds of it, sample by sample.

    Attributes:
        status: ``compared``; ``new``, the baseline has no entry; ``stale``, its entry is of
            another contract or other data; ``stored``, this run makes the entry.
        reason: Why nothing was compared, in words.
        required: Whether an entry must be there and fit.
        samples: How many samples were compared.
        before: How many of them withstood the attack then.
        lost: Places in the data of those that withstood it then and do not now.
        won: Places of those that withstand it only now.
        undecided: How many withstood it then, and how many did not, of whom nothing may be
            claimed now.
        distinct: The same of distinct inputs, each counted once by the worst of its copies: at
            least lost and at most won, then at most lost and at least won.
        p: McNemar's exact two-sided p: how likely at least so lopsided a change is where losing
            and winning are equally likely.
    """

    status: Literal["compared", "new", "stale", "stored"]
    reason: str = ""
    required: bool = False
    samples: int = 0
    before: int = 0
    lost: tuple[int, ...] = ()
    won: tuple[int, ...] = ()
    undecided: tuple[int, int] = (0, 0)
    distinct: tuple[int, int, int, int] = (0, 0, 0, 0)
    p: float = 1.0

    @property
    def drop(self) -> Fraction:
        """Accuracy lost since, in [-1, 1], where the undecided stay what they were."""
        return Fraction(len(self.lost) - len(self.won), self.samples)

    @property
    def drop_interval(self) -> Interval:
        """The same, whatever the undecided are."""
        stood, fell = (Fraction(count, self.samples) for count in self.undecided)
        return Interval(self.drop - fell, self.drop + stood)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Regression":
        """The inverse of ``dataclasses.asdict``, also after a round trip through JSON."""
        pairs = {"undecided": (0, 0), "distinct": (0, 0, 0, 0), **plain}
        places = {name: tuple(pairs[name]) for name in ("lost", "won", "undecided", "distinct")}
        return cls(**{**plain, **places})


@dataclass(frozen=True)
class Memory:
    """What adversarial examples of earlier runs do to the pipeline of today.

    Attributes:
        tried: How many were tried: those of samples that the pipeline has right.
        fell: Places in the data of the samples that fall to them, and to nothing that was found
            in this run.
        attacked: Whether this run's attack has looked for examples of these samples, too, and
            found none; else they were left out, since they had fallen already.
    """

    tried: int
    fell: tuple[int, ...]
    attacked: bool

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Memory":
        """The inverse of ``dataclasses.asdict``, also after a round trip through JSON."""
        return cls(plain["tried"], tuple(plain["fell"]), plain["attacked"])


@dataclass(frozen=True)
class Evaluation(Conditions):
    """The measured outcome of one attack at one budget: its conditions, and what came of them.

    Attributes:
        unfiltered: The bare model, attacked and judged.
        filtered: The pipeline, attacked under the threat; None where there is no filter.
        evidence: What was found about the run itself.
        notes: What a reader should know about inputs and settings.
        targets: The target of each class from 0, None for one whose samples are not attacked;
            None where the attack has no target.
        classes: Name of each class from 0: the model's own, or its number.
        queries: What a black-box attacker asked; None under every other threat.
        disturbances: What happened to every input before the attack: name and severity.
        regression: The pipeline against the baseline, where the contract asks for it.
        memory: What examples of earlier runs did, where the suite keeps any.
        seconds: Wall-clock time of the measurement.
        cached: Whether it was taken from the cache of an earlier run.
    """

    unfiltered: Arm
    filtered: Arm | None
    evidence: tuple[Evidence, ...] = ()
    notes: tuple[str, ...] = ()
    targets: tuple[int | None, ...] | None = None
    classes: tuple[str, ...] = ()
    queries: Queries | None = None
    disturbances: Disturbances = ()
    regression: Regression | None = None
    memory: Memory | None = None
    seconds: float = field(default=0.0, compare=False)
    cached: bool = field(default=False, compare=False)

    @property
    def pipeline(self) -> Arm:
        """The arm that floors speak of: what is deployed."""
        return self.unfiltered if self.filtered is None else self.filtered

    @property
    def without_memory(self) -> Interval:
        """What the pipeline's robust accuracy can be where no earlier run left anything."""
        low, high = self.pipeline.accuracy_interval
        if self.memory is None:
            return Interval(low, high)
        fell = Fraction(len(self.memory.fell), self.pipeline.samples)
        return Interval(low + fell if self.memory.attacked else low, high + fell)

    @property
    def arms(self) -> dict[str, Arm]:
        named = {"unfiltered": self.unfiltered, "filtered": self.filtered}
        return {name: arm for name, arm in named.items() if arm is not None}

    @property
    def complete(self) -> bool:
        """Whether every sample of every arm has an outcome."""
        return all(arm.complete for arm in self.arms.values())

    @property
    def before(self) -> str:
        """What happened to inputs before the attack, in words; empty where nothing did."""
        return disturbance_words(self.disturbances) if self.disturbances else ""

    @property
    def limit(self) -> int | None:
        """The most answers that the attacker got for one sample; None where nobody counted."""
        return None if self.queries is None else self.queries.limit

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, dicts and scalars, for JSON and for other processes."""
        # Not `asdict` of the whole: it would copy every cell of the confusions to no end.
        plain = {each.name: getattr(self, each.name) for each in fields(self)}
        return plain | {
            "arguments": dict(self.arguments),
            "unfiltered": self.unfiltered.to_dict(),
            "filtered": None if self.filtered is None else self.filtered.to_dict(),
            "evidence": [asdict(finding) for finding in self.evidence],
            "notes": list(self.notes),
            "targets": None if self.targets is None else list(self.targets),
            "classes": list(self.classes),
            "queries": None if self.queries is None else asdict(self.queries),
            "regression": None if self.regression is None else asdict(self.regression),
            "memory": None if self.memory is None else asdict(self.memory),
            "disturbances": [[name, list(severity)] for name, severity in self.disturbances],
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Evaluation":
        """The inverse of :meth:`to_dict`."""
        filtered, targets, queries = plain["filtered"], plain["targets"], plain["queries"]
        regression, memory = plain["regression"], plain["memory"]
        built = {
            "unfiltered": Arm.from_dict(plain["unfiltered"]),
            "filtered": None if filtered is None else Arm.from_dict(filtered),
            "evidence": tuple(Evidence(**finding) for finding in plain["evidence"]),
            "notes": tuple(plain["notes"]),
            "targets": None if targets is None else tuple(targets),
            "classes": tuple(plain["classes"]),
            "queries": None if queries is None else Queries(**queries),
            "regression": None if regression is None else Regression.from_dict(regression),
            "memory": None if memory is None else Memory.from_dict(memory),
            "disturbances": tuple(
                (name, tuple(severity)) for name, severity in plain["disturbances"]
            ),
        }
        return cls(**{**plain, **built})

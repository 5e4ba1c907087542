"""Under what an accuracy was measured."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from pytest_aerobust.contract.catalogue import NOTHING, Norm


@dataclass(frozen=True)
class Conditions:
    """An attack at a budget under a threat, for people and programs.

    Attributes:
        attack: Name of the attack.
        label: Attack and norm for people, such as ``BIM Linf``.
        norm: ``linf``, ``l2``, ``l1`` or ``l0``.
        eps: Budget, in the units of the data.
        threat: What the attacker knew.
        target: What the attacker wanted, if anything: a class, a mapping in words, ``natural`` or
            ``non-natural``.
        arguments: What the attack was told, as text.
        seed: Seed of everything random.
    """

    attack: str
    label: str
    norm: Norm
    eps: float
    threat: str
    target: int | str | None
    arguments: Mapping[str, str]
    seed: int

    @property
    def stated(self) -> dict[str, Any]:
        """These fields by name, for what is held beside more."""
        return {field.name: getattr(self, field.name) for field in fields(Conditions)}

    @property
    def attacked(self) -> bool:
        """Whether there is an attack at all."""
        return self.attack != NOTHING.name

    @property
    def before(self) -> str:
        """What happens to inputs before the attack, in words; empty where nothing does."""
        return ""

    @property
    def limit(self) -> int | None:
        """The most answers that the attacker gets for one sample; None where nobody counts."""
        return None

    def words(self) -> str:
        """In one line: what happens before, attack, norm and budget, target, threat, limit."""
        parts = [self.before, *(self._attacker() if self.attacked else [NOTHING.title])]
        return ", ".join(filter(None, parts))

    def _attacker(self) -> list[str]:
        aim = [] if self.target is None else [f"target {self.target}"]
        return [f"{self.label} eps={self.eps:.4g}", *aim, self.threat, self._limited()]

    def _limited(self) -> str:
        if self.limit is None:
            return ""
        return f"within {self.limit} {'query' if self.limit == 1 else 'queries'} a sample"

"""What the attacker knows, one class a threat: who is searched, by whose gradients, who judges."""

from collections.abc import Iterator
from typing import ClassVar

from torch import Tensor

from pytest_aerobust.contract.catalogue import FILTER_THREATS
from pytest_aerobust.errors import ContractError
from pytest_aerobust.measurement.arm import RunningArm
from pytest_aerobust.measurement.arms import Arms
from pytest_aerobust.measurement.measurement import Measurement
from pytest_aerobust.measurement.searching import Searcher
from pytest_aerobust.measurement.trail import Role
from pytest_aerobust.subjects.pipeline import Classifier
from pytest_aerobust.subjects.subject import Sides


class Attacker:
    """Of a single model: there is no filter that he could know or not.

    Args:
        arms: Whom he attacks.
        searcher: How.

    Attributes:
        notes: What a reader should know of this threat.
    """

    notes: ClassVar[tuple[str, ...]] = ()

    def __init__(self, arms: Arms, searcher: Searcher) -> None:
        self._arms, self._searcher = arms, searcher

    def attack(self, rows: Tensor) -> None:
        """Search for examples of one chunk, and let the arms judge them."""
        self._searcher.on(self._arms.unfiltered, rows)

    @property
    def needs_bare_examples(self) -> bool:
        """Whether whom the pipeline needs attacked the bare arm has to attack, too."""
        return False

    def followed(self, arm: RunningArm) -> list[Classifier]:
        """Whose gradients he follows on his way to an arm; none where he needs none."""
        gradients = self._searcher.measurement.attack.spec.access == "gradient"
        return self._crafted_on(arm) if gradients else []

    def _crafted_on(self, arm: RunningArm) -> list[Classifier]:
        return [arm.side]

    def bare(self, arm: RunningArm) -> Classifier | None:
        """The model without the filter, where examples that he makes of it may beat the arm."""
        return None

    def roles(self) -> Iterator[Role]:
        """Who answers for what is measured, and whose gradients say where to search."""
        for arm in self._arms:
            followed = self.followed(arm)
            for side in dict.fromkeys([arm.side, *followed]):
                yield Role(arm.name, self._arms.sides.name_of(side), side in followed)


class BlackBox(Attacker):
    """He faces the pipeline itself, and then tries the bare arm's examples on it."""

    def attack(self, rows: Tensor) -> None:
        arms, pipeline = self._arms, self._arms.pipeline
        bare = self._searcher.on(arms.unfiltered, rows)
        if bare.ended or self._searcher.on(pipeline, rows).ended or not arms.one_model:
            return
        moved = bare.rows[bare.beaten]
        wanted = pipeline.outcomes.open(moved)
        pipeline.judge(moved[wanted], bare.examples[bare.beaten][wanted])


class WhiteBox(BlackBox):
    """The same, by the gradients of all that is deployed."""

    @property
    def needs_bare_examples(self) -> bool:
        return True

    def bare(self, arm: RunningArm) -> Classifier | None:
        return self._arms.sides.known if arm is self._arms.filtered else None


class GrayBox(Attacker):
    """He does not know the filter, and tries what transfers from every model that he knows.

    Where the bare arm has a model of its own that is both of them: the deployed one may be far
    from home without the filter that it was trained behind.
    """

    def attack(self, rows: Tensor) -> None:
        arms, bare = self._arms, self._arms.unfiltered
        ended = self._searcher.transfer(bare, bare.side, arms.pipeline, rows)
        if not ended and not arms.one_model:
            self._searcher.transfer(None, arms.sides.known, arms.pipeline, rows)

    def _crafted_on(self, arm: RunningArm) -> list[Classifier]:
        if arm is self._arms.unfiltered or self._arms.one_model:
            return [self._arms.unfiltered.side]
        return [self._arms.unfiltered.side, self._arms.sides.known]


class BehindFilter(Attacker):
    """He changes what the filter puts out."""

    notes = (
        "threat='behind-filter' changes what the filter puts out, where no attacker of the "
        "deployed pipeline can reach: it reproduces publications and shows nothing of the pipeline",
    )

    def attack(self, rows: Tensor) -> None:
        if not self._searcher.on(self._arms.unfiltered, rows).ended:
            self._searcher.on(self._arms.pipeline, rows)

    def roles(self) -> Iterator[Role]:
        yield from super().roles()
        # What the filter makes of the samples is where the attack starts.
        yield Role("start", "pipeline", False)


_WITH_FILTER: dict[str, type[Attacker]] = {
    "white-box": WhiteBox,
    "black-box": BlackBox,
    "gray-box": GrayBox,
    "behind-filter": BehindFilter,
}


def attacker(arms: Arms, searcher: Searcher) -> Attacker:
    """Who attacks the arms of a measurement."""
    threat = searcher.measurement.threat
    kind = Attacker if arms.filtered is None else _WITH_FILTER[threat]
    return kind(arms, searcher)


def check_filter(measurement: Measurement, sides: Sides) -> None:
    """Refuse a threat that means nothing for what is under test.

    Raises:
        ContractError: It is about a filter that is not there, or about inputs that nobody sees.
    """
    threat = measurement.threat
    if measurement.disturbances and measurement.behind_filter:
        raise ContractError(
            "threat='behind-filter' starts from the filter's outputs, but disturbances happen to "
            "inputs; leave one of them out"
        )
    if sides.pipeline is None and threat in FILTER_THREATS:
        raise ContractError(
            f"threat={threat!r} is {FILTER_THREATS[threat]}, but there is no filter: give one "
            "(fixture aerobust_filter), or leave the threat out"
        )

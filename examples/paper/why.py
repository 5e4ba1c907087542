"""Why the paper's numbers look as they do: one experiment for each of three causes.

All on the network and the vanilla filter, BIM. The budget is what the paper's library takes by
default, 0.3 of the range; for clipping it is 0.1, at which something is left to compare.
"""

from dataclasses import dataclass
from typing import Any

import torch
from trained import Trained

from pytest_aerobust import Counterexamples, Evaluation, evaluate

EPS, CLIPPED_EPS = 0.3, 0.1


@dataclass(frozen=True)
class Finding:
    """One measured number, with the setting that it holds for."""

    cause: str
    setting: str
    accuracy: float


class Experiment:
    """The three causes, measured on samples from all over the test set.

    Args:
        trained: filters and classifiers.
        samples: about how many to attack; all, where there are fewer.
    """

    def __init__(self, trained: Trained, samples: int = 1000) -> None:
        inputs, labels = trained.data.test_arrays()
        # Not the first ones: those of MNIST are harder than the others.
        step = max(1, len(labels) // samples)
        self._data = inputs[::step], labels[::step]
        self._bare = trained.classifier("network", None)
        self._filters = {"raw": trained.filter("vanilla"), "bounded": trained.bounded_filter()}
        self._behind = {
            name: trained.classifier("network", filter) for name, filter in self._filters.items()
        }

    def findings(self) -> list[Finding]:
        """All three, in the order in which a reader would ask."""
        return [*self.scale(), *self.clipping(), *self.retirement()]

    def scale(self) -> list[Finding]:
        """Behind a filter whose outputs are large, the same eps is a small step."""
        with torch.no_grad():
            outputs = self._filters["raw"](self._data[0])
        span = float(outputs.max() - outputs.min())
        measured = {
            f"added to raw outputs, which span {span:.0f}, eps 0.3": ("raw", EPS),
            f"added to raw outputs, eps 0.3 of their span ({EPS * span:.1f})": ("raw", EPS * span),
            "added to outputs that are held to [0, 1], eps 0.3": ("bounded", EPS),
        }
        return [
            Finding("scale of the filter's outputs", setting, self._behind_filter(*where))
            for setting, where in measured.items()
        ]

    def clipping(self) -> list[Finding]:
        """Without clipping, a perturbed image need not be an image."""
        image, beyond = (0.0, 1.0), (-CLIPPED_EPS, 1 + CLIPPED_EPS)
        measured = {
            "no filter, eps 0.1, clipped to [0, 1]": (self._no_filter, image),
            "no filter, eps 0.1, unclipped: pixels from -0.1 to 1.1": (self._no_filter, beyond),
            "gray-box, eps 0.1, clipped to [0, 1]": (self._gray_box, image),
            "gray-box, eps 0.1, unclipped: pixels from -0.1 to 1.1": (self._gray_box, beyond),
        }
        return [
            Finding("clipping to the range of images", setting, measure(CLIPPED_EPS, bounds))
            for setting, (measure, bounds) in measured.items()
        ]

    def retirement(self) -> list[Finding]:
        """An example that stops where the bare model errs hardly transfers."""
        measured = {
            "gray-box, eps 0.3, every step taken": self._gray_box(EPS, (0.0, 1.0)),
            "gray-box, eps 0.3, stopped at the bare model's border": self._stopped_at_the_border(),
        }
        return [
            Finding("where crafting on the bare model stops", setting, accuracy)
            for setting, accuracy in measured.items()
        ]

    def _behind_filter(self, name: str, eps: float) -> float:
        return self._evaluated(
            self._behind[name], eps, filter=self._filters[name], threat="behind-filter"
        ).pipeline.accuracy

    def _no_filter(self, eps: float, bounds: tuple[float, float]) -> float:
        return self._evaluated(self._bare, eps, bounds=bounds).pipeline.accuracy

    def _gray_box(self, eps: float, bounds: tuple[float, float]) -> float:
        filtered = {"filter": self._filters["raw"], "threat": "gray-box", "bounds": bounds}
        return self._evaluated(self._behind["raw"], eps, **filtered).pipeline.accuracy

    def _stopped_at_the_border(self) -> float:
        """Accuracy of the pipeline on examples that beat the bare model, and on clean survivors."""
        kept = Counterexamples()
        self._evaluated(self._bare, EPS, on_examples=kept)
        examples = {each.sample: each.adversarial for each in kept.of("unfiltered")}
        inputs, labels = self._data
        sent = torch.stack([examples.get(row, original) for row, original in enumerate(inputs)])
        with torch.no_grad():
            answers = self._behind["raw"](self._filters["raw"](sent)).argmax(dim=1)
        return float((answers == labels).float().mean())

    def _evaluated(self, model: Any, eps: float, **how: Any) -> Evaluation:
        return evaluate(
            model, self._data, attack="bim", eps=eps, unfiltered_model=self._bare, **how
        )

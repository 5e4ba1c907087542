"""The clean pass: what a side makes of the inputs that nobody attacked."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pytest_aerobust.subjects.box import Box
from pytest_aerobust.subjects.data import Samples
from pytest_aerobust.subjects.pipeline import Classifier

# Clean samples that a side is shown where its clean pass is known.
_SEEN = 16


@dataclass(frozen=True)
class CleanPass:
    """What a side makes of the inputs that nobody attacked.

    Attributes:
        logits: Of every draw, ``(draws, N, K)``.
        lowest: The smallest value that the filter gives to each feature.
        highest: The largest.
    """

    logits: Tensor
    lowest: Tensor
    highest: Tensor

    def filter_notes(self, bounds: Box) -> tuple[str, ...]:
        """A warning where the filter's clean outputs leave the bounds of the data."""
        low, high = bounds.low, bounds.high
        slack = 1e-6 * (high - low)
        if ((low - slack <= self.lowest) & (self.highest <= high + slack)).all():
            return ()
        return (
            f"the filter's outputs span [{self.lowest.min():g}, {self.highest.max():g}], outside "
            f"the bounds {bounds}: the model sees another scale than eps is stated in",
        )


def clean_pass(side: Classifier, samples: Samples, known: CleanPass | None) -> CleanPass:
    """The clean pass of a side, which is asked here first.

    Args:
        side: Who is asked.
        samples: All of them.
        known: The same from another measurement; None where there is none.
    """
    with torch.no_grad():
        if known is None:
            return _asked(side, samples)
        # A new side has to see some samples and answers before it can be asked.
        side.clean(samples.inputs[:_SEEN])
    return known


def _asked(side: Classifier, samples: Samples) -> CleanPass:
    answers, lowest, highest = [], [], []
    for inputs in samples.chunks():
        seen, logits = side.clean(inputs)
        lowest.append(seen.amin(dim=0))
        highest.append(seen.amax(dim=0))
        answers.append(logits)
    return CleanPass(
        torch.cat(answers, dim=1),
        torch.stack(lowest).amin(dim=0),
        torch.stack(highest).amax(dim=0),
    )

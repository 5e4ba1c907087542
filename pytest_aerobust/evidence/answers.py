"""Evidence about the answers themselves: a witness, too, needs a model that stands by its word.

Each check asks about a few samples that nobody attacked and runs once a contract.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pytest_aerobust.counterexamples.verification import correct
from pytest_aerobust.results.evaluation import Weight
from pytest_aerobust.subjects.pipeline import Classifier
from pytest_aerobust.subjects.scale import logits_apart

# Samples that are asked about.
COUNT = 32
_TIMES = 5
# Logits that differ by more than this share of their size are other answers (AutoAttack).
_SAME = 1e-4
_RANDOM = "eot= declares the answers random: each is the mean of several draws"


@dataclass(frozen=True)
class Asked:
    """A side and a few samples that it is asked about.

    Attributes:
        side: Who is asked.
        inputs: ``(n, ...)``, attacked by nobody.
        labels: ``(n,)``.
        logits: What the side said to them in the clean pass, ``(n, K)``.
    """

    side: Classifier
    inputs: Tensor
    labels: Tensor
    logits: Tensor

    def ask(self, rows: Tensor) -> Tensor:
        with torch.no_grad():
            return self.side(self.inputs[rows])


def determinism(asked: Asked) -> tuple[Weight, str]:
    """``determinism``: the same batch asked five times.

    Void where the counts of right answers differ, or logits by more than 1e-4 of their size
    (the checks of AutoAttack, Croce & Hein 2020). Costs five forward passes of 32 samples.
    """
    if asked.side.draws > 1:
        return "skipped", _RANDOM
    everyone = torch.arange(len(asked.inputs), device=asked.inputs.device)
    said = [asked.ask(everyone) for _ in range(_TIMES)]
    rights = [int(correct(logits, asked.labels).sum()) for logits in said]
    apart = max(logits_apart(said[0], logits) for logits in said[1:])
    if len(set(rights)) == 1 and apart <= _SAME:
        return "sound", f"the same {len(everyone)} inputs were answered alike {_TIMES} times"
    return "void", (
        f"the same {len(everyone)} inputs asked {_TIMES} times were answered differently (right: "
        f"{', '.join(map(str, rights))}; logits differ by up to {apart:.2g} of their size): "
        "neither a witness nor a survivor can be trusted. Is dropout or noise at work in the model "
        "or the filter? If it is meant to be random, state eot=16 (expectation over "
        "transformation); if not, seed it or switch it off"
    )


def batch_independence(asked: Asked) -> tuple[Weight, str]:
    """``batch independence``: the same samples in other company and another order.

    Void where logits differ from those of the clean pass by more than 1e-4 of their size, a
    hundred times what rounding in float32 does. Costs a forward pass of 32 samples. (Batch
    statistics in the forward pass make the accuracy depend on who is attacked together.)
    """
    if asked.side.draws > 1:
        return "skipped", _RANDOM
    turned = torch.arange(len(asked.inputs), device=asked.inputs.device).flip(0)
    cut = -(-2 * len(turned) // 3)
    parted = torch.cat([asked.ask(part) for part in (turned[:cut], turned[cut:]) if len(part)])
    apart = logits_apart(asked.logits, parted.flip(0))
    if apart <= _SAME:
        return "sound", f"{len(turned)} inputs were answered alike in other batches"
    return "void", (
        f"an answer depends on the other samples of the batch (logits differ by up "
        f"to {apart:.2g} of their size), so accuracies are those of one batching. Look for batch "
        "statistics in forward (batch norm in train mode, F.batch_norm(training=True)), or a "
        "normalisation over the batch"
    )


def state(asked: Asked, changed: bool) -> tuple[Weight, str]:
    """``state``: weights, buffers and clean answers, before the run and after it.

    Args:
        asked: With the logits of the clean pass.
        changed: Whether a weight or a buffer is another than before the run.

    Void where any of them changed. Costs a forward pass of 32 samples and two sums over the
    weights. (A model that adapts while it is attacked is judged by other weights at the end.)
    """
    everyone = torch.arange(len(asked.inputs), device=asked.inputs.device)
    apart = 0.0 if asked.side.draws > 1 else logits_apart(asked.logits, asked.ask(everyone))
    if not changed and apart <= _SAME:
        return "sound", f"weights and {len(everyone)} clean answers are those of the start"
    what = "its weights or buffers" if changed else "its answers to the same clean inputs"
    return "void", (
        f"the model changed {what} while it was evaluated: the samples met different models. "
        "Look for running statistics, counters or caches that forward writes"
    )


CHECKS: dict[str, Callable[[Asked], tuple[Weight, str]]] = {
    "determinism": determinism,
    "batch independence": batch_independence,
}

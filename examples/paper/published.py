"""What the paper reports, as far as its text holds numbers; its pictures are not repeated here.

Sivaslioglu, Catak & Gul 2020, "Adversarial machine learning robustness with autoencoders". A
number is an accuracy; None where the text has none for that cell.
"""

from typing import NamedTuple


class Claim(NamedTuple):
    """One number of the paper, with the place that it stands in."""

    text: str
    place: str


# Section 5.5.2: "accuracy for autoencoded data against an attack has around between 0.96 and
# 0.99", of the three types that are not variational.
_AUTOENCODED = Claim("0.96–0.99", "section 5.5.2")
_VARIATIONAL = Claim("0.65–0.70", "section 5.5.2")

# (filter, attack) of the network. The logistic regression's numbers are in lost pictures.
NETWORK: dict[tuple[str | None, str], Claim] = {
    (None, "non-targeted (FGSM)"): Claim("0.06", "figure 68"),
    (None, "BIM"): Claim("0.01–0.02", "section 5.2.2; 0.01 in figure 72"),
    ("vanilla", "non-targeted (FGSM)"): _AUTOENCODED,
    ("vanilla", "T-FGSM (5)"): Claim("0.98", "section 5.2.2"),
    ("vanilla", "BIM"): Claim("0.97", "section 5.2.2"),
    ("sparse", "non-targeted (FGSM)"): _AUTOENCODED,
    ("sparse", "T-FGSM (5)"): _AUTOENCODED,
    ("sparse", "BIM"): _AUTOENCODED,
    ("denoising", "non-targeted (FGSM)"): _AUTOENCODED,
    ("denoising", "T-FGSM (5)"): Claim("0.30", "figure 56; 0.96–0.99 in section 5.5.2"),
    ("denoising", "BIM"): _AUTOENCODED,
    ("variational", "non-targeted (FGSM)"): _VARIATIONAL,
    ("variational", "T-FGSM (5)"): _VARIATIONAL,
    ("variational", "BIM"): Claim("0.65", "figure 73"),
}
# Figure 16: where each digit from 0 to 9 is sent.
NATURAL = (6, 8, 8, 8, 9, 8, 0, 9, 3, 4)
NON_NATURAL = (1, 0, 0, 1, 1, 1, 1, 6, 0, 6)

# Section 6 of all its filters: "robustness provided by autoencoder after adversarial attacks can
# be seen by accuracy drop between 0.1 and 0.2", the one claim that covers every cell.
LARGEST_DROP = 0.2


def claim(filter_name: str | None, classifier: str, attack: str) -> str:
    """The paper's number for a cell; empty where its text has none."""
    found = NETWORK.get((filter_name, attack)) if classifier == "network" else None
    return found.text if found else ""

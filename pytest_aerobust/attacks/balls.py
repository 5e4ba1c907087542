"""The geometry of a norm: draws from its ball, steepest steps, projections.

Points are ``(n, ...)``; the ends of the bounds broadcast against them. A projection leads to the
nearest point of the ball *and* the bounds together, for centres inside the bounds.
"""

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

# The smallest and the largest values, broadcastable against the points.
Ends = tuple[Tensor, Tensor]
# Newton's method below is exact once no coordinate is newly cut off, which takes a few rounds.
_ROUNDS = 20


class Ball(Protocol):
    """The ball of one norm."""

    @staticmethod
    def noise(generator: np.random.Generator, size: int) -> np.ndarray:
        """One uniform draw from the unit ball, ``(size,)``."""

    @staticmethod
    def steepest(gradients: Tensor) -> Tensor:
        """Moves of length 1 that gain most ``(n, ...)``; none where there is no gradient."""

    @staticmethod
    def project(points: Tensor, centres: Tensor, eps: float, box: Ends) -> Tensor:
        """The nearest points inside the balls around the centres and inside the bounds."""


def aligned(values: Tensor, points: Tensor) -> Tensor:
    """One number a sample ``(n,)``, to broadcast against points ``(n, ...)``."""
    return values.reshape(-1, *[1] * (points.ndim - 1))


class LinfBall:
    """No coordinate moves by more than eps."""

    @staticmethod
    def noise(generator: np.random.Generator, size: int) -> np.ndarray:
        return generator.uniform(-1.0, 1.0, size)

    @staticmethod
    def steepest(gradients: Tensor) -> Tensor:
        return gradients.sign()

    @staticmethod
    def project(points: Tensor, centres: Tensor, eps: float, box: Ends) -> Tensor:
        return points.clamp(centres - eps, centres + eps).clamp(*box)


class L2Ball:
    """The Euclidean length of a move is at most eps."""

    @staticmethod
    def noise(generator: np.random.Generator, size: int) -> np.ndarray:
        """The first coordinates of a uniform point on a sphere two dimensions up.

        Voelker, Gosmann & Stewart 2017, "Efficiently sampling vectors and coordinates from the
        n-sphere and n-ball".
        """
        point = generator.standard_normal(size + 2)
        return point[:size] / np.linalg.norm(point)

    @staticmethod
    def steepest(gradients: Tensor) -> Tensor:
        # Scaled first: the square of a small number may be 0 in float32.
        scaled = gradients / _divisor(gradients.abs().flatten(1).amax(dim=1), gradients)
        return scaled / _divisor(scaled.flatten(1).norm(dim=1), scaled)

    @staticmethod
    def project(points: Tensor, centres: Tensor, eps: float, box: Ends) -> Tensor:
        """Shrink the move by a factor and cut it at the bounds, so that the budget is used up.

        The squared length after the cut is a concave, piecewise linear function of the squared
        factor: Newton's method from below never leaves the ball and ends at the exact factor.
        """
        moves = points - centres
        squares = moves.square().flatten(1)
        room = _room(moves, centres, box).square().flatten(1)
        factors = (eps**2 / squares.sum(dim=1, keepdim=True)).clamp_max(1.0)
        for _ in range(_ROUNDS):
            cut = factors * squares >= room
            free = torch.where(cut, 0.0, squares).sum(dim=1, keepdim=True)
            left = eps**2 - torch.where(cut, room, 0.0).sum(dim=1, keepdim=True)
            better = torch.where(free > 0, left / free, factors).clamp_max(1.0).maximum(factors)
            if torch.equal(better, factors):
                break
            factors = better
        return (centres + aligned(factors.sqrt(), points) * moves).clamp(*box)


class L1Ball:
    """The absolute moves of all coordinates sum up to at most eps."""

    @staticmethod
    def noise(generator: np.random.Generator, size: int) -> np.ndarray:
        """Exponential shares of a whole, one of them left over, with random signs."""
        shares = generator.standard_exponential(size + 1)
        signs = np.where(generator.random(size) < 0.5, -1.0, 1.0)
        point: np.ndarray = signs * shares[:size] / shares.sum()
        return point

    @staticmethod
    def steepest(gradients: Tensor) -> Tensor:
        sizes = gradients.abs().flatten(1)
        highest = sizes == sizes.amax(dim=1, keepdim=True)
        shares = highest / highest.sum(dim=1, keepdim=True)
        return gradients.sign() * shares.reshape_as(gradients)

    @staticmethod
    def project(points: Tensor, centres: Tensor, eps: float, box: Ends) -> Tensor:
        """Shorten every coordinate's move by the same amount, cut at 0 and at the bounds.

        Croce & Hein 2021, "Mind the box: l1-APGD for sparse adversarial attacks on image
        classifiers", proposition 2.1.
        """
        moves = points - centres
        sizes, room = moves.abs().flatten(1), _room(moves, centres, box).flatten(1)
        amounts = _shortening(sizes.double(), room.double(), eps).to(sizes)
        left = torch.minimum((sizes - amounts).clamp_min(0.0), room).reshape_as(moves)
        return (centres + moves.sign() * left).clamp(*box)


def _divisor(lengths: Tensor, points: Tensor) -> Tensor:
    return aligned(lengths.clamp_min(torch.finfo(lengths.dtype).tiny), points)


def _room(moves: Tensor, centres: Tensor, box: Ends) -> Tensor:
    """How far each coordinate can go in its direction before it meets a bound."""
    low, high = box
    return torch.where(moves > 0, high - centres, centres - low)


def _shortening(sizes: Tensor, room: Tensor, eps: float) -> Tensor:
    """The amounts ``(n, 1)`` by which moves ``(n, d)`` are shortened to sum up to eps.

    What is left of a sum falls piecewise linearly with the amount: a coordinate starts to get
    shorter at its first kink and is used up at its second. The piece that crosses eps is solved.
    """
    starts = (sizes - room).clamp_min(0.0)
    kinks, order = torch.cat([starts, sizes], dim=1).sort(dim=1)
    turns = torch.cat([torch.ones_like(sizes), -torch.ones_like(sizes)], dim=1)
    slopes = turns.gather(1, order).cumsum(dim=1)
    falls = (kinks.diff(dim=1) * slopes[:, :-1]).cumsum(dim=1)
    whole = torch.minimum(sizes, room).sum(dim=1, keepdim=True)
    sums = torch.cat([whole, whole - falls], dim=1)
    piece = ((sums > eps).sum(dim=1, keepdim=True) - 1).clamp_min(0)
    excess, slope = (sums.gather(1, piece) - eps).clamp_min(0.0), slopes.gather(1, piece)
    return torch.where(whole > eps, kinks.gather(1, piece) + excess / slope.clamp_min(1.0), 0.0)

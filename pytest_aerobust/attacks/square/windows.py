"""What Square changes about an image: windows of one colour, or pairs of opposite bumps.

Perturbations are ``(n, C, H, W)``. Random numbers come in from outside, uniform in [0, 1).
"""

from math import prod, sqrt
from typing import Protocol

import torch
from torch import Tensor

Size = tuple[int, int]

# Along each side of an image, the bumps that a search starts with: Andriushchenko et al. 2020,
# section 4.3.
_TILES = 5


class Windows(Protocol):
    """How perturbations of one norm start and change.

    Attributes:
        numbers: Random numbers that one change takes.
    """

    numbers: int

    def first(self, draws: Tensor) -> Tensor:
        """Perturbations to start from; of `draws` ``(n, C * H * W)`` it takes what it needs."""

    def changed(self, moves: Tensor, draws: Tensor, share: float) -> Tensor:
        """Perturbations with another content in one window each.

        Args:
            moves: As they are.
            draws: ``(n, numbers)``.
            share: Of the image that a window covers.
        """


class Stripes:
    """Windows of one colour, every pixel at an end of the Linf ball.

    Andriushchenko et al. 2020, algorithm 2; it starts with vertical stripes.
    """

    def __init__(self, shape: tuple[int, int, int], eps: float) -> None:
        self._shape, self._eps = shape, eps
        self.numbers = 2 + shape[0]

    def first(self, draws: Tensor) -> Tensor:
        channels, _, width = self._shape
        signs = _signs(draws[:, : channels * width]).reshape(-1, channels, 1, width)
        return (self._eps * signs).expand(-1, *self._shape)

    def changed(self, moves: Tensor, draws: Tensor, share: float) -> Tensor:
        inside = _Window(self._shape, share, draws[:, 0], draws[:, 1]).mask()
        colours = self._eps * _signs(draws[:, 2:])[:, :, None, None]
        return torch.where(inside, colours, moves)


class Bumps:
    """Budget taken from one window and spent on a pair of bumps in another.

    Andriushchenko et al. 2020, algorithm 3 and equation 2, in L2; with lengths of L1 in L1, as
    Croce & Hein 2021. It starts with a grid of pairs.

    Args:
        shape: Of one image.
        eps: Radius of the ball.
        order: Of the norm, 2 or 1.
    """

    def __init__(self, shape: tuple[int, int, int], eps: float, order: int) -> None:
        self._shape, self._eps, self._order = shape, eps, order
        self.numbers = 5 + shape[0]

    def first(self, draws: Tensor) -> Tensor:
        channels, height, width = self._shape
        tile = max(1, height // _TILES), max(1, width // _TILES)
        grid = height // tile[0], width // tile[1]
        signs = _signs(draws[:, : channels * prod(grid)]).reshape(-1, channels, *grid)
        tiled = torch.kron(signs, _pair(tile, 0).to(signs))
        moves = draws.new_zeros(len(draws), *self._shape)
        moves[:, :, : tiled.shape[2], : tiled.shape[3]] = tiled
        lengths = self._powers(moves).sum(dim=1) ** (1 / self._order)
        return moves * (self._eps / lengths)[:, None, None, None]

    def changed(self, moves: Tensor, draws: Tensor, share: float) -> Tensor:
        spent = _Window(self._shape, share, draws[:, 0], draws[:, 1])
        saved = _Window(self._shape, share, draws[:, 2], draws[:, 3]).mask()
        pairs = spent.filled(_pair(spent.size, 0), _pair(spent.size, 1), draws[:, 4] < 0.5)
        pairs = self._unit(pairs) * _signs(draws[:, 5:])[:, :, None, None]
        both = spent.mask() | saved
        mixed = self._unit(pairs + self._unit(moves * spent.mask()))
        # Where the old content was the pair's own negative nothing would be left of the budget.
        fresh = torch.where(self._powers(mixed)[:, :, None, None] > 0, mixed, pairs)
        return torch.where(both, 0.0, moves) + fresh * self._budget(moves, both)

    def _budget(self, moves: Tensor, windows: Tensor) -> Tensor:
        """The length that each channel may have inside the windows ``(n, C, 1, 1)``."""
        left = (self._eps**self._order - self._powers(moves).sum(dim=1)).clamp_min(0.0)
        powers = self._powers(moves * windows) + left[:, None] / self._shape[0]
        return (powers ** (1 / self._order))[:, :, None, None]

    def _powers(self, moves: Tensor) -> Tensor:
        """What each channel adds to the power of the norm ``(n, C)``."""
        return moves.abs().pow(self._order).sum(dim=(2, 3))

    def _unit(self, moves: Tensor) -> Tensor:
        """Every channel at length 1; one that is nothing stays so."""
        lengths = self._powers(moves) ** (1 / self._order)
        return moves / torch.where(lengths > 0, lengths, 1.0)[:, :, None, None]


class _Window:
    """One place in each image, all of the same size.

    Args:
        shape: Of one image.
        share: Of the image that it covers.
        down: Where it lies, from 0 (top) to 1 (bottom), ``(n,)``.
        right: Where it lies, from 0 (left) to 1 (right), ``(n,)``.
    """

    def __init__(
        self, shape: tuple[int, int, int], share: float, down: Tensor, right: Tensor
    ) -> None:
        _, height, width = shape
        rows = min(height, max(1, round(sqrt(share * height * width))))
        columns = min(width, max(1, round(share * height * width / rows)))
        self.size = rows, columns
        self._down = _offsets(down, rows, height)
        self._right = _offsets(right, columns, width)

    def mask(self) -> Tensor:
        """Where it lies ``(n, 1, H, W)``."""
        rows = (self._down >= 0) & (self._down < self.size[0])
        columns = (self._right >= 0) & (self._right < self.size[1])
        return rows[:, None, :, None] & columns[:, None, None, :]

    def filled(self, one: Tensor, other: Tensor, which: Tensor) -> Tensor:
        """Images with one content of it or the other, 0 elsewhere ``(n, 1, H, W)``."""
        rows = self._down.clamp(0, self.size[0] - 1)[:, :, None]
        columns = self._right.clamp(0, self.size[1] - 1)[:, None, :]
        contents = torch.stack([other, one]).to(which.device)
        return contents[which.long()[:, None, None], rows, columns][:, None] * self.mask()


def _offsets(place: Tensor, size: int, whole: int) -> Tensor:
    """How far each line of an image lies behind the first line of a window ``(n, whole)``."""
    first = (place * (whole - size + 1)).long().clamp_max(whole - size)
    return torch.arange(whole, device=place.device) - first[:, None]


def _signs(draws: Tensor) -> Tensor:
    return torch.where(draws < 0.5, -1.0, 1.0).to(draws)


def _pair(size: Size, side: int) -> Tensor:
    """Two bumps of opposite sign, side by side along one side of a window."""
    side = side if size[side] > 1 else 1 - side  # a window may be one line
    half = size[side] // 2
    parts = [half, size[side] - half]
    sizes = [(part, size[1]) if side == 0 else (size[0], part) for part in parts]
    return torch.cat([_bump(sizes[0]), -_bump(sizes[1])], dim=side)


def _bump(size: Size) -> Tensor:
    """Rings that rise towards the middle: Andriushchenko et al. 2020, equation 2."""
    most = max(size) // 2
    distances = [(torch.arange(length) - length // 2).abs() for length in size]
    rings = most - torch.maximum(distances[0][:, None], distances[1][None, :])
    heights = (1.0 / torch.arange(most + 1, 0, -1).square()).cumsum(dim=0)
    return torch.where(rings >= 0, heights[rings.clamp_min(0)], 0.0)

"""A tensor whose channels come from several inputs, one behind the other, computed input by input.

Every input's channels are cut into vectors of which the last overlaps the one before, so that any number of them
is stored in whole vectors and no vector belongs to two inputs. The kernel has a block for each input, "part0",
"part1" and so on, with the loops [..., vector, lane].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tvm import te

from autotune_qnn.kernels.anchors.origins import Origins
from autotune_qnn.kernels.anchors.overlap import first_channel, store_elsewhere
from autotune_qnn.kernels.geometry import ceil_div
from autotune_qnn.kernels.lane import Lane, int32
from autotune_qnn.kernels.operand import LaneFunction

_COPIED, _COMPUTED = (64, 32, 16), (16,)


def part_name(place: int) -> str:
    """The name of the block that stores one input's channels."""
    return f"part{place}"


@dataclass(frozen=True)
class Part:
    """One input of a joined tensor.

    Attributes:
        start, channels: where its channels are in the result, and how many there are.
        lanes: its lanes in the result's scale, by its own index.
        copied: whether its elements are stored as they are, so that a vector of bytes is all it takes.
    """

    start: int
    channels: int
    lanes: LaneFunction
    copied: bool

    @property
    def vector(self) -> int:
        """Channels of one vector."""
        fitting = (size for size in (_COPIED if self.copied else _COMPUTED) if size <= self.channels)
        return next(fitting, self.channels)

    @property
    def vectors(self) -> int:
        """Number of vectors."""
        return ceil_div(self.channels, self.vector)

    def first(self, vector: Any) -> Any:
        """The part's own channel with which a vector begins."""
        return first_channel(vector, self.vector, self.channels)


@dataclass(frozen=True)
class Joined:
    """A tensor of this shape made of parts along its last axis."""

    shape: tuple[int, ...]
    parts: tuple[Part, ...]
    _channels: Origins = field(default_factory=Origins)

    def at(self, index: Sequence[Any]) -> Lane:
        """The lane at an index whose channel `results` has made."""
        *outer, channel = index
        part, own = self._channels.of(channel)
        lane: Lane = part.lanes([*outer, own])
        return lane

    def results(self, element: Callable[..., Any]) -> list[Any]:
        """The tensors of all parts, [..., vector, lane], from what computes an element of the whole."""
        made = []
        for place, part in enumerate(self.parts):
            extents = (*self.shape[:-1], part.vectors, part.vector)
            made.append(te.compute(extents, partial(self._element, part, element), name=part_name(place)))
        return made

    def _element(self, part: Part, element: Callable[..., Any], *index: Any) -> Any:
        *outer, vector, lane = index
        own = part.first(vector) + lane
        channel = self._channels.remember(own + int32(part.start), (part, own))
        return element(*outer, channel)

    def stored(self, func: Any) -> Any:
        """The PrimFunc of `results` with one output."""

        def place(part: Part, indices: Sequence[Any]) -> list[Any]:
            *outer, vector, lane = indices
            return [*outer, part.first(vector) + lane + int32(part.start)]

        return store_elsewhere(func, self.shape, [partial(place, part) for part in self.parts])

"""Results computed in groups of channels of which the last overlaps the one before.

A tensor of 144 channels in groups of 64 has groups that start at 0, 64 and 80: every group is whole, and what two
of them compute twice is the same value. TensorIR made from expressions writes each element once, so such a kernel
is built with an output of whole groups, [..., group, place], and its stores are then pointed to the
tensor itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from tvm import ir, s_tir, te, tirx

from autotune_qnn.kernels.anchors.origins import Origins
from autotune_qnn.kernels.geometry import ceil_div
from autotune_qnn.kernels.lane import int32
from autotune_qnn.kernels.statements import with_fields, with_parts


def first_channel(group: Any, size: int, channels: int) -> Any:
    """The channel at which a group of `size` begins."""
    return group * size if channels % size == 0 else te.min(group * size, channels - size)


@dataclass(frozen=True)
class Blocks:
    """Channels in vectors of `size`, of which the last overlaps the one before.

    What is computed block by block is addressed by places, everything else by channels; `channel` gives the channel
    of a place, `place` goes back from that very expression.
    """

    channels: int
    size: int
    _places: Origins = field(default_factory=Origins)

    @classmethod
    def of(cls, channels: int, size: int) -> Blocks | None:
        """The blocks, or None where they need no overlap or where one block is longer than the channels."""
        return None if channels % size == 0 or channels < size else cls(channels, size)

    @property
    def count(self) -> int:
        """Number of blocks."""
        return ceil_div(self.channels, self.size)

    @property
    def order(self) -> NDArray[np.int64]:
        """The channel at each place."""
        starts = np.minimum(np.arange(self.count) * self.size, self.channels - self.size)
        return np.asarray((starts[:, None] + np.arange(self.size)).reshape(-1), np.int64)

    def channel(self, block: Any, lane: Any) -> Any:
        """The channel in a lane of a block."""
        channel = first_channel(block, self.size, self.channels) + lane
        return self._places.remember(channel, block * self.size + lane)

    def place(self, channel: Any) -> Any:
        """The place of a channel that `channel` has given."""
        return self._places.of(channel)


class Placement(Protocol):
    """Results that a kernel computes in another order than the tensor that keeps them."""

    def results(self, element: Callable[..., Any]) -> list[Any]:
        """The tensors that the kernel computes, from what computes an element of the whole."""

    def stored(self, func: Any) -> Any:
        """The PrimFunc of `results` whose one output is the tensor that keeps them."""


Place = Callable[[Sequence[Any]], list[Any]]
"""From the index of an element in a tensor that a kernel computes to its index in the tensor that keeps it."""


def store_overlapping(func: Any, channels: int) -> Any:
    """The PrimFunc whose last parameter, [..., group, place], becomes [..., channel]."""
    *outer, _, size = (int(extent) for extent in func.params[-1].shape)

    def place(indices: Sequence[Any]) -> list[Any]:
        *leading, group, channel = indices
        return [*leading, first_channel(group, size, channels) + channel]

    return store_elsewhere(func, (*outer, channels), [place])


def store_within(func: Any, channels: int, start: int) -> Any:
    """The PrimFunc whose last parameter, [..., channel], becomes a tensor of more channels, of which it stores those
    from `start` on.
    """
    *outer, _ = (int(extent) for extent in func.params[-1].shape)

    def place(indices: Sequence[Any]) -> list[Any]:
        *leading, channel = indices
        return [*leading, channel + int32(start)]

    return store_elsewhere(func, (*outer, channels), [place])


def store_elsewhere(func: Any, shape: tuple[int, ...], places: Sequence[Place]) -> Any:
    """The PrimFunc that stores what its last parameters, one for each of `places`, would get in one of this shape."""
    kept, moved = func.params[: -len(places)], func.params[-len(places) :]
    new = tirx.decl_buffer(shape, str(moved[0].dtype), "output")
    body = func.body
    for old, place in zip(moved, places, strict=True):
        body = _rewritten(body, old, new, place)
    return tirx.PrimFunc([*kept, new], body, func.ret_type, func.attrs)


def _rewritten(stmt: Any, old: Any, new: Any, place: Place) -> Any:
    """The statement with every store to `old` as one to `new`."""

    def inner(part: Any) -> Any:
        return _rewritten(part, old, new, place)

    if isinstance(stmt, tirx.BufferStore) and stmt.buffer.same_as(old):
        return tirx.BufferStore(new, stmt.value, place(stmt.indices))
    if not isinstance(stmt, s_tir.SBlock):
        return with_parts(stmt, inner)
    writes = [
        ir.TensorRegion(new, _single(place([part.min for part in region.region])), region.ty)
        if region.source.same_as(old)
        else region
        for region in stmt.writes
    ]
    return with_fields(stmt, writes=writes, body=inner(stmt.body))


def _single(indices: list[Any]) -> list[Any]:
    """The region of one element."""
    return [ir.Range.from_min_extent(index, 1) for index in indices]

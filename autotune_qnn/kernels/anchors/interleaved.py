"""Channels of a joined tensor in turns, as a channel shuffle puts them, all of them or a run.

Two runs of channels, each within one input, become the even and the odd channels of the result. A vector of each
is computed on its own, and an instruction that interleaves bytes makes one vector of both. The kernel has the blocks
"streams", [..., vector, stream, lane], and "output"; the last vectors overlap the ones before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tvm import te, tirx

from autotune_qnn.dialect.attributes import attributes
from autotune_qnn.kernels.anchors.joined import Joined, Part
from autotune_qnn.kernels.anchors.origins import Origins
from autotune_qnn.kernels.anchors.overlap import first_channel, store_overlapping
from autotune_qnn.kernels.channel_moves import channel_sources
from autotune_qnn.kernels.geometry import ceil_div
from autotune_qnn.kernels.lane import Lane, int32
from autotune_qnn.kernels.templates.base import TemplateFactory
from autotune_qnn.kernels.templates.interleaved import InterleavedTemplate

_VECTORS = (16, 8, 4)

Stream = tuple[int, int]
"""The place of an input, and the first of its channels that are taken."""


def two_streams(calls: Sequence[Any]) -> tuple[Stream, Stream] | None:
    """Where the even and the odd channels come from when the calls, a concatenation first, are done one by one.

    None where they are no such runs of channels.
    """
    join, *moves = calls
    shape = tuple(int(extent) for extent in join.ty.shape)
    if attributes(join).integer("axis") % len(shape) != len(shape) - 1:
        return None
    sources = channel_sources(moves)
    if sources is None or sources.size % 2 or sources.size < 2 * _VECTORS[-1]:
        return None
    starts = np.cumsum([0, *(int(part.ty.shape[-1]) for part in join.args[0].fields)])
    found: list[Stream] = []
    for stream in (sources[0::2], sources[1::2]):
        part = int(np.searchsorted(starts, stream[0], "right")) - 1
        if (np.diff(stream) != 1).any() or stream[-1] >= starts[part + 1]:
            return None
        found.append((part, int(stream[0] - starts[part])))
    return found[0], found[1]


@dataclass(frozen=True)
class Interleaved:
    """A tensor of this shape whose even and odd channels are those of `streams`, each a part and its first channel."""

    shape: tuple[int, ...]
    streams: tuple[tuple[Part, int], tuple[Part, int]]
    _channels: Origins = field(default_factory=Origins)

    @classmethod
    def of(cls, shape: tuple[int, ...], joined: Joined, streams: tuple[Stream, Stream]) -> Interleaved:
        """The channels of a joined tensor that `two_streams` has found."""
        first, second = ((joined.parts[part], start) for part, start in streams)
        return cls(shape, (first, second))

    @property
    def vector(self) -> int:
        """Channels of one stream that a vector holds."""
        return next(size for size in _VECTORS if 2 * size <= self.shape[-1])

    @property
    def vectors(self) -> int:
        """Number of vectors."""
        return ceil_div(self.shape[-1], 2 * self.vector)

    def template(self, dtype: str) -> TemplateFactory:
        """The schedule template of such a kernel whose result has this dtype in memory."""
        return InterleavedTemplate.factory(self.shape, dtype, self.vectors, self.vector)

    def at(self, index: Sequence[Any]) -> Lane:
        """The lane at an index whose channel `results` has made."""
        *outer, channel = index
        stream, place = self._channels.of(channel)
        part, start = self.streams[stream]
        return part.lanes([*outer, place + int32(start)])

    def results(self, element: Callable[..., Any]) -> list[Any]:
        """The output, [..., vector, channel of the vector], from what computes an element of the result."""

        def of_stream(stream: int, outer: Sequence[Any], vector: Any, lane: Any) -> Any:
            place = first_channel(vector, self.vector, self.shape[-1] // 2) + lane
            channel = self._channels.remember(place * 2 + int32(stream), (stream, place))
            return element(*outer, channel)

        def either(*index: Any) -> Any:
            *outer, vector, stream, lane = index
            values = (of_stream(place, outer, vector, lane) for place in (0, 1))
            return tirx.if_then_else(stream < 1, *values)

        leading = (*self.shape[:-1], self.vectors)
        streams = te.compute((*leading, 2, self.vector), either, name="streams")

        def turns(*index: Any) -> Any:
            *outer, channel = index
            return streams[(*outer, tirx.floormod(channel, 2), tirx.floordiv(channel, 2))]

        return [te.compute((*leading, 2 * self.vector), turns, name="output")]

    def stored(self, func: Any) -> Any:
        """The PrimFunc of `results` with the output as the tensor itself."""
        return store_overlapping(func, self.shape[-1])

"""How tiles are laid over the output of a convolution, and the knobs of their order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any

from autotune_qnn.kernels.geometry import ceil_div

ROWS, TILES = 16, 8
"""Rows of a tile, and tiles of the processor."""

ALL = 1 << 20


@dataclass(frozen=True, slots=True)
class TileKnobs:
    """What is open in a convolution on tiles.

    Attributes:
        row_tiles, channel_tiles: tiles of sums that are computed together, pixels by output channels.
        flat: whether tiles run on over the end of an image's row (1) or end with it (0).
        band: groups of row tiles that are finished before the next band; ALL for every one.
        channels_outside: whether a band runs over its pixels for each group of output channels, or the reverse.
        taps_inside: whether the taps of the kernel are the innermost sum, or the channels.
        split: what is spread over threads: nothing (0), bands (1), groups of output channels (2).
        weave: whether the output of one group of row tiles is made between the products of the next (1).
    """

    row_tiles: int
    channel_tiles: int
    flat: int
    band: int
    channels_outside: int
    taps_inside: int
    split: int
    weave: int = 0

    @classmethod
    def of(cls, values: Sequence[Any]) -> TileKnobs | None:
        """From an annotation; None where the values cannot be."""
        numbers = [int(value) for value in values]
        if len(numbers) != len(cls.__slots__) or min(numbers) < 0:
            return None
        knobs = cls(*numbers)
        flags = (knobs.flat, knobs.channels_outside, knobs.taps_inside, knobs.weave)
        return knobs if knobs.fit and max(flags) <= 1 and knobs.split <= 2 and knobs.band >= 1 else None

    @property
    def values(self) -> tuple[int, ...]:
        """The values in the order in which `of` takes them."""
        return astuple(self)

    @property
    def fit(self) -> bool:
        """Whether sums, data and weights of a step fit the tiles."""
        rows, channels = self.row_tiles, self.channel_tiles
        return min(rows, channels) >= 1 and rows * channels + rows + channels <= TILES


@dataclass(frozen=True, slots=True)
class TileLayout:
    """Tiles over runs of pixels that lie at equal distances in the data.

    A run is a row of the output, or (flat) a whole image, with `pitch` pixels from one row to the next, of which the
    output has the first `width`. The last tile of a run begins earlier where the tiles do not fit exactly, and so
    computes pixels of the one before again.

    Attributes:
        width, pitch: see above. runs: of all images. length: pixels of a run.
        tiles: of one run. rows: pixels of each.
    """

    width: int
    pitch: int
    runs: int
    length: int
    tiles: int
    rows: int

    @classmethod
    def of(cls, images: int, height: int, width: int, pitch: int | None) -> TileLayout:
        """With a `pitch` for flat runs, without for those of single rows."""
        length = width if pitch is None else (height - 1) * pitch + width
        runs = images * height if pitch is None else images
        tiles = ceil_div(length, ROWS)
        return cls(width, width if pitch is None else pitch, runs, length, tiles, ceil_div(length, tiles))

    @property
    def count(self) -> int:
        """Tiles of all runs."""
        return self.runs * self.tiles

    @property
    def exact(self) -> bool:
        """Whether no pixel is computed twice."""
        return self.tiles * self.rows == self.length


def row_pitch(row_stride: int, column_stride: int, height: int, width: int) -> int | None:
    """Pixels from one row of an image to the next, None where that is no whole number or there is one row."""
    if height == 1 or column_stride <= 0 or row_stride % column_stride:
        return None
    pitch = row_stride // column_stride
    return pitch if pitch >= width else None

"""Code for a convolution on AMX's tiles, from the blocks of the unscheduled kernel.

A group of up to 2x2 tiles of int32 sums stays in the processor's tiles while all of the reduction passes through it:
each step loads tiles of data straight from the rows of NHWC pixels, tiles of packed weights, and multiplies every one
with every other. The sums then go to a small buffer on the stack, from where the block "output" reads them: at once, or
(woven) a few pixels in each step of the next group, as the tiles multiply while vectors compute.

Every parallel task loads the tile configuration when it begins and releases the tiles when it ends, so that it does
not matter on which thread it runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from tvm import tirx
from tvm.tirx.stmt import ForKind

from autotune_qnn.kernels.geometry import ceil_div
from autotune_qnn.kernels.lane import int32
from autotune_qnn.kernels.storage import ALIGNED
from autotune_qnn.kernels.tiles.layout import ROWS, TileKnobs, TileLayout
from autotune_qnn.kernels.tiles.outputs import OutputWriter, TileRow
from autotune_qnn.kernels.tiles.pieces import (
    address,
    byte_count,
    instruction,
    loop,
    otherwise,
    sequence,
    tile_number,
)
from autotune_qnn.kernels.tiles.reading import LANES, QUAD, TileProblem

ANNOTATION = "aq_tiles"
"""The annotation of the block "conv" that asks for tiles; its value is that of `TileKnobs.values`."""

_LINE = LANES * QUAD


def configuration(problem: TileProblem, layout: TileLayout, knobs: TileKnobs) -> list[int]:
    """The 64 bytes that LDTILECFG reads, as 32-bit words: sums first, then data, then weights."""
    sums, depth = knobs.row_tiles * knobs.channel_tiles, problem.step
    kinds = (
        (sums, layout.rows, _LINE),
        (knobs.row_tiles, layout.rows, depth * QUAD),
        (knobs.channel_tiles, depth, _LINE),
    )
    memory = np.zeros(64, np.uint8)
    memory[0] = 1
    shapes = [(rows, width) for count, rows, width in kinds for _ in range(count)]
    for tile, (rows, width) in enumerate(shapes):
        memory[16 + 2 * tile] = width
        memory[48 + tile] = rows
    return [int(word) for word in memory.view("<i4")]


@dataclass(frozen=True)
class _Writer:
    """Statements for one problem, one layout, and one setting of the knobs."""

    problem: TileProblem
    layout: TileLayout
    knobs: TileKnobs

    @cached_property
    def _sums(self) -> Any:
        """The sums of a group of tiles, [pixels, channels]: a row of a tile fills a line of the cache."""
        shape = (self.knobs.row_tiles * ROWS, self.knobs.channel_tiles * LANES)
        return tirx.decl_buffer(shape, "int32", f"{ALIGNED}sums")

    @cached_property
    def _writer(self) -> OutputWriter:
        return OutputWriter(self.problem, self.layout, self.knobs, self._sums)

    @cached_property
    def _row_groups(self) -> int:
        return ceil_div(self.layout.count, self.knobs.row_tiles)

    @cached_property
    def _channel_groups(self) -> int:
        return ceil_div(self.problem.blocks, self.knobs.channel_tiles)

    def whole(self) -> Any:
        """The kernel's loops, parallel where the knobs say so."""
        groups, split = self.problem.groups, self.knobs.split
        band = min(self.knobs.band, self._row_groups)
        bands = ceil_div(self._row_groups, band)
        inner = self._channel_groups if split == 2 else bands

        def task(place: Any) -> Any:
            group, part = tirx.floordiv(place, int32(inner)), tirx.floormod(place, int32(inner))
            if split == 2:
                return self._pixels(group, part, int32(0), self._row_groups)
            first = part * int32(band)
            count: Any = band
            if self._row_groups % band:
                count = tirx.min(int32(band), int32(self._row_groups) - first)
            if self.knobs.channels_outside or self.knobs.weave:
                return loop("block", self._channel_groups, lambda n: self._pixels(group, n, first, count))
            return loop(
                "pixels",
                count,
                lambda m: loop("block", self._channel_groups, lambda n: self._group(group, n, first + m)),
            )

        if not split:
            return self._configured(loop("task", groups * inner, task))
        return loop("task", groups * inner, lambda v: self._configured(task(v)), kind=ForKind.PARALLEL)

    def _configured(self, body: Any) -> Any:
        """A task between loading its configuration and releasing the tiles."""
        # Written where the sums will be, which keeps TVM from giving them the memory of data that are read first:
        # it knows one dtype of a pointer into memory that two buffers share.
        words = configuration(self.problem, self.layout, self.knobs)
        places = [[int32(0), int32(place)] for place in range(len(words))]
        return tirx.SeqStmt(
            [
                tirx.AllocBuffer(self._sums),
                *(tirx.BufferStore(self._sums, int32(w), at) for w, at in zip(words, places, strict=True)),
                instruction("ldtilecfg", address(self._sums, int32(0))),
                body,
                instruction("tilerelease"),
            ]
        )

    def _pixels(self, group: Any, block: Any, first: Any, count: Any) -> Any:
        if self.knobs.weave:
            return self._by_columns(block, lambda columns: self._woven(group, block, first, count, columns))
        return loop("pixels", count, lambda m: self._group(group, block, first + m))

    def _by_columns(self, block: Any, body: Callable[[int], Any]) -> Any:
        """The last group of channels may have fewer columns of tiles."""
        channels = self.knobs.channel_tiles
        last = block == int32(self._channel_groups - 1)
        return otherwise(self.problem.blocks % channels, last, channels, body)

    def _group(self, group: Any, block: Any, pixels: Any) -> Any:
        """One group of tiles; the last ones may have fewer rows or columns of tiles."""
        rows = self.knobs.row_tiles

        def whole(count: int, columns: int) -> Any:
            sums = self._summed(group, block, pixels, count, columns)
            return tirx.SeqStmt([*sums, *self._outputs(group, block, pixels, count, columns)])

        def with_rows(columns: int) -> Any:
            last = pixels == int32(self._row_groups - 1)
            return otherwise(self.layout.count % rows, last, rows, lambda count: whole(count, columns))

        return self._by_columns(block, with_rows)

    def _woven(self, group: Any, block: Any, first: Any, count: Any, columns: int) -> Any:
        """Groups of tiles one after the other, each one's output among the products of the next."""
        rows, final = self.knobs.row_tiles, self._row_groups - 1
        rest = self.layout.count % rows

        def sums(pixels: Any, tiles: int, follows: Any) -> list[Any]:
            def between(step: Any) -> Any:
                chosen = self._outputs(group, block, pixels - int32(1), rows, columns, step)
                return tirx.IfThenElse(follows, sequence(chosen), None)

            return self._summed(group, block, pixels, tiles, columns, between)

        def outputs(pixels: Any, tiles: int) -> Any:
            return sequence(self._outputs(group, block, pixels, tiles, columns))

        first, count = (int32(value) if isinstance(value, int) else value for value in (first, count))
        ends = first + count == int32(self._row_groups)
        full = count - tirx.Cast("int32", ends) if rest else count
        each = loop(
            "pixels", full, lambda m: tirx.SeqStmt(sums(first + m, rows, m > int32(0))), kind=ForKind.SERIAL
        )
        behind = outputs(first + full - int32(1), rows)
        if rest:
            part = [*sums(int32(final), rest, full > int32(0)), outputs(int32(final), rest)]
            behind = tirx.IfThenElse(ends, tirx.SeqStmt(part), behind)
        return tirx.SeqStmt([each, behind])

    def _summed(
        self,
        group: Any,
        block: Any,
        pixels: Any,
        rows: int,
        columns: int,
        between: Callable[[Any], Any] | None = None,
    ) -> list[Any]:
        """The sums of rows x columns tiles; `between` gives what is done in each step of them besides."""
        sums, ld = self.knobs.row_tiles * self.knobs.channel_tiles, self.knobs.channel_tiles
        places = self._rows(pixels, rows)
        pairs = [(row, column) for column in range(columns) for row in range(rows)]

        def accumulator(row: int, column: int) -> Any:
            return tile_number(row * ld + column)

        def step(tap_row: Any, tap_column: Any, part: Any, number: Any) -> Any:
            weights = self._weight_place(group, block, tap_row, tap_column, part)
            data = self._data_place(group, tap_row, tap_column, part)
            loads = []
            for place in range(max(rows, columns)):
                if place < rows:
                    loads.append(self._load_data(sums + place, places[place].start + data))
                if place < columns:
                    moved = weights + int32(place * self.problem.weight_strides[0])
                    loads.append(self._load_weights(sums + self.knobs.row_tiles + place, moved))
            products = [
                instruction(
                    "tdpbusd",
                    accumulator(row, column),
                    tile_number(sums + row),
                    tile_number(sums + self.knobs.row_tiles + column),
                )
                for row, column in pairs
            ]
            return tirx.SeqStmt([*loads, *products, *([between(number)] if between else [])])

        zeros = [instruction("tilezero", accumulator(*pair)) for pair in pairs]
        stores = [
            instruction(
                "tilestored64",
                accumulator(row, column),
                address(self._sums, int32((row * self.layout.rows * ld + column) * LANES), "w"),
                byte_count(4 * LANES * ld),
            )
            for row, column in pairs
        ]
        return [*zeros, self._reduction(step), *stores]

    def _rows(self, pixels: Any, rows: int) -> list[TileRow]:
        return [
            TileRow.of(
                self.problem, self.layout, self.knobs.flat, pixels * int32(self.knobs.row_tiles) + int32(row)
            )
            for row in range(rows)
        ]

    def _outputs(
        self, group: Any, block: Any, pixels: Any, rows: int, columns: int, step: Any = None
    ) -> list[Any]:
        """The output of a group of tiles, or the part of it that belongs to a step of the next group's sums."""
        places = self._rows(pixels, rows)
        if step is not None:
            steps = self.problem.kernel[0] * self.problem.kernel[1] * len(self.problem.steps)
            share = ceil_div(self.layout.rows, steps)
            begin, end = step * int32(share), (step + int32(1)) * int32(share)
            places = [place.part(begin, end) for place in places]
        return [self._writer.tile(group, block, place, row, columns) for row, place in enumerate(places)]

    def _reduction(self, step: Callable[[Any, Any, Any, Any], Any]) -> Any:
        """A loop over all steps: rows and columns of taps, parts of the channels, and the step's number."""
        height, width = self.problem.kernel
        parts = len(self.problem.steps)

        def numbered(y: Any, x: Any, p: Any) -> Any:
            tap = y * int32(width) + x
            number = p * int32(height * width) + tap if self.knobs.taps_inside else tap * int32(parts) + p
            return step(y, x, p, number)

        if self.knobs.taps_inside:
            return loop(
                "part",
                parts,
                lambda p: loop("kh", height, lambda y: loop("kw", width, lambda x: numbered(y, x, p))),
            )
        return loop(
            "kh",
            height,
            lambda y: loop("kw", width, lambda x: loop("part", parts, lambda p: numbered(y, x, p))),
        )

    def _data_place(self, group: Any, tap_row: Any, tap_column: Any, part: Any) -> Any:
        """What a step adds to the place of a tile's first pixel."""
        problem, steps = self.problem, self.problem.steps
        distance = steps[1] - steps[0] if len(steps) > 1 else 0
        place = part * int32(distance) + int32(steps[0])
        if distance * (len(steps) - 1) + steps[0] != steps[-1]:
            place = tirx.min(place, int32(steps[-1]))
        row, column = problem.tap_strides
        return group * int32(problem.group_stride) + tap_row * int32(row) + tap_column * int32(column) + place

    def _weight_place(self, group: Any, block: Any, tap_row: Any, tap_column: Any, part: Any) -> Any:
        problem = self.problem
        first = group * int32(problem.blocks) + block * int32(self.knobs.channel_tiles)
        strides = (*problem.weight_strides, problem.step * _LINE)
        indices = (first, tap_row, tap_column, part)
        place: Any = int32(0)
        for index, stride in zip(indices, strides, strict=True):
            place = place + index * int32(stride)
        return place

    def _load_data(self, tile: int, place: Any) -> Any:
        stride = byte_count(self.problem.column_stride)
        return instruction("tileloadd64", tile_number(tile), address(self.problem.data, place), stride)

    def _load_weights(self, tile: int, place: Any) -> Any:
        return instruction(
            "tileloadd64", tile_number(tile), address(self.problem.weights, place), byte_count(_LINE)
        )


def write_tiles(problem: TileProblem, layout: TileLayout, knobs: TileKnobs) -> Any:
    """The statement that computes `problem.output`'s buffer from the data."""
    assert layout.rows <= ROWS
    assert knobs.fit
    return _Writer(problem, layout, knobs).whole()

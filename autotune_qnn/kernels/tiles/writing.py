"""Code for a convolution on AMX's tiles, from the blocks of the unscheduled kernel.

A group of up to 2x2 tiles of int32 sums stays in the processor's tiles while all of the reduction passes through it:
each step loads tiles of data straight from the rows of NHWC pixels, tiles of packed weights, and multiplies every one
with every other. The sums then go to a small buffer on the stack, from where the block "output" reads them.

Every parallel task loads the tile configuration when it begins and releases the tiles when it ends, so that it does
not matter on which thread it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import tvm_ffi
from tvm import tirx
from tvm.ir import TensorLoad
from tvm.tirx.stmt import ForKind

from autotune_qnn.kernels.geometry import ceil_div
from autotune_qnn.kernels.lane import int32
from autotune_qnn.kernels.storage import ALIGNED
from autotune_qnn.kernels.tiles.layout import ROWS, TileKnobs, TileLayout
from autotune_qnn.kernels.tiles.reading import LANES, QUAD, TileProblem

ANNOTATION = "aq_tiles"
"""The annotation of the block "conv" that asks for tiles; its value is that of `TileKnobs.values`."""

_LINE = LANES * QUAD


def _loop(
    name: str, extent: Any, body: Callable[[Any], Any], start: Any = 0, kind: Any = ForKind.SERIAL
) -> Any:
    """A loop, or just its body where it has one step."""
    if isinstance(extent, int) and extent == 1:
        return body(int32(start) if isinstance(start, int) else start)
    variable = tirx.Var(name, "int32")
    first, count = (int32(value) if isinstance(value, int) else value for value in (start, extent))
    return tirx.For(variable, first, count, kind, body(variable))


def _sequence(statements: Sequence[Any]) -> Any:
    return statements[0] if len(statements) == 1 else tirx.SeqStmt(list(statements))


def _instruction(name: str, *arguments: Any) -> Any:
    return tirx.Evaluate(tirx.call_llvm_intrin("void", f"llvm.x86.{name}", *arguments))


def _tile(number: int) -> Any:
    return tirx.const(number, "uint8")


def _bytes(count: int) -> Any:
    return tirx.const(count, "int64")


def _address(buffer: Any, place: Any, access: str = "r") -> Any:
    """The address of an element counted from the buffer's first. Passes take it as a use of the whole buffer."""
    return buffer.access_ptr(access, offset=place)


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
    def _bound(self) -> list[Any]:
        """Variables that the output's expression binds: every copy of it needs its own."""
        found: list[Any] = []

        def visit(binding: Any, visitor: Any) -> None:
            found.append(binding.var)
            visitor.default_visit(binding)

        tvm_ffi.structural_visit(self.problem.output.body, [(tirx.Let, visit)])
        return found

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
                return self._pixels(group, part, 0, self._row_groups)
            first = part * int32(band)
            count: Any = band
            if self._row_groups % band:
                count = tirx.min(int32(band), int32(self._row_groups) - first)
            if self.knobs.channels_outside:
                return _loop("block", self._channel_groups, lambda n: self._pixels(group, n, first, count))
            return _loop(
                "pixels",
                count,
                lambda m: _loop("block", self._channel_groups, lambda n: self._group(group, n, first + m)),
            )

        if not split:
            return self._configured(_loop("task", groups * inner, task))
        return _loop("task", groups * inner, lambda v: self._configured(task(v)), kind=ForKind.PARALLEL)

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
                _instruction("ldtilecfg", _address(self._sums, int32(0))),
                body,
                _instruction("tilerelease"),
            ]
        )

    def _pixels(self, group: Any, block: Any, first: Any, count: Any) -> Any:
        return _loop("pixels", count, lambda m: self._group(group, block, first + m))

    def _group(self, group: Any, block: Any, pixels: Any) -> Any:
        """One group of tiles; the last ones may have fewer rows or columns of tiles."""
        rows, channels = self.knobs.row_tiles, self.knobs.channel_tiles

        def with_rows(columns: int) -> Any:
            return _otherwise(
                self.layout.count % rows,
                pixels == int32(self._row_groups - 1),
                rows,
                lambda count: self._tiles(group, block, pixels, count, columns),
            )

        last = block == int32(self._channel_groups - 1)
        return _otherwise(self.problem.blocks % channels, last, channels, with_rows)

    def _tiles(self, group: Any, block: Any, pixels: Any, rows: int, columns: int) -> Any:
        """Sums of rows x columns tiles, and the output made of them."""
        sums, ld = self.knobs.row_tiles * self.knobs.channel_tiles, self.knobs.channel_tiles
        places = [_Row.of(self, pixels * int32(self.knobs.row_tiles) + int32(row)) for row in range(rows)]
        pairs = [(row, column) for column in range(columns) for row in range(rows)]

        def accumulator(row: int, column: int) -> Any:
            return _tile(row * ld + column)

        def step(tap_row: Any, tap_column: Any, part: Any) -> Any:
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
                _instruction(
                    "tdpbusd",
                    accumulator(row, column),
                    _tile(sums + row),
                    _tile(sums + self.knobs.row_tiles + column),
                )
                for row, column in pairs
            ]
            return tirx.SeqStmt([*loads, *products])

        zeros = [_instruction("tilezero", accumulator(*pair)) for pair in pairs]
        stores = [
            _instruction(
                "tilestored64",
                accumulator(row, column),
                _address(self._sums, int32((row * self.layout.rows * ld + column) * LANES), "w"),
                _bytes(4 * LANES * ld),
            )
            for row, column in pairs
        ]
        outputs = [self._output(group, block, places[row], row, columns) for row in range(rows)]
        return tirx.SeqStmt([*zeros, self._reduction(step), *stores, *outputs])

    def _reduction(self, step: Callable[[Any, Any, Any], Any]) -> Any:
        height, width = self.problem.kernel
        parts = len(self.problem.steps)
        if self.knobs.taps_inside:
            return _loop(
                "part",
                parts,
                lambda p: _loop("kh", height, lambda y: _loop("kw", width, lambda x: step(y, x, p))),
            )
        return _loop(
            "kh",
            height,
            lambda y: _loop("kw", width, lambda x: _loop("part", parts, lambda p: step(y, x, p))),
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
        stride = _bytes(self.problem.column_stride)
        return _instruction("tileloadd64", _tile(tile), _address(self.problem.data, place), stride)

    def _load_weights(self, tile: int, place: Any) -> Any:
        return _instruction("tileloadd64", _tile(tile), _address(self.problem.weights, place), _bytes(_LINE))

    def _output(self, group: Any, block: Any, place: _Row, tile: int, columns: int) -> Any:
        """The output of one tile's pixels in `columns` blocks of channels."""
        whole = columns * LANES
        own = self.problem.channels - (self.problem.blocks - columns) * LANES
        last = block == int32(self._channel_groups - 1)

        def row(number: Any) -> Any:
            image, y, x = place.pixel(number)
            line = int32(tile * self.layout.rows) + number

            def lanes(count: int) -> Any:
                first = group * int32(self.problem.channels) + block * int32(self.knobs.channel_tiles * LANES)
                runs = [whole] if count == whole else _runs(count)
                begin = [sum(runs[:position]) for position in range(len(runs))]
                return _sequence(
                    [
                        self._vector((image, y, x), first + int32(start), line, start, run)
                        for start, run in zip(begin, runs, strict=True)
                    ]
                )

            if own == whole:
                stored = lanes(whole)
            elif self._channel_groups == 1 or columns != self.knobs.channel_tiles:
                stored = lanes(own)
            else:
                stored = tirx.IfThenElse(last, lanes(own), lanes(whole))
            if self.layout.pitch == self.layout.width:
                return stored
            return tirx.IfThenElse(x < int32(self.layout.width), stored, None)

        return _loop("row", place.count, row, place.skipped)

    def _vector(self, pixel: Sequence[Any], channel: Any, line: Any, start: int, lanes: int) -> Any:
        def one(lane: Any) -> Any:
            return self._element((*pixel, channel + lane), self._sums[line, int32(start) + lane])

        return _loop("lane", lanes, one, kind=ForKind.VECTORIZED)

    def _element(self, index: Sequence[Any], value: Any) -> Any:
        """The block "output" for one element, its sum replaced by `value`."""
        output, sums = self.problem.output, self.problem.sums
        extents = (self.problem.batch, self.problem.height, self.problem.width)
        axes = [axis.var for axis in output.iter_vars]
        long = [index[place] for place, extent in enumerate(extents) if extent > 1]
        replaced = {axes[-1]: index[-1]}
        for axis in output.iter_vars[:-1]:
            replaced[axis.var] = long.pop(0) if int(axis.dom.extent) > 1 else int32(0)
        replaced.update((name, tirx.Var(name.name, name.ty)) for name in self._bound)

        def load(found: Any) -> Any:
            return value if found.source.same_as(sums) else found

        def variable(found: Any) -> Any:
            return replaced.get(found, found)

        return tvm_ffi.structural_map(output.body, [(TensorLoad, load), (tirx.Var, variable)])


def _otherwise(rest: int, last: Any, whole: int, body: Callable[[int], Any]) -> Any:
    """`body(whole)`, or `body(rest)` for the last group where that has fewer."""
    if not rest:
        return body(whole)
    return tirx.IfThenElse(last, body(rest), body(whole))


def _runs(count: int) -> list[int]:
    """Vectors that make up a number of channels: whole ones, then powers of two."""
    rest = count % LANES
    return [LANES] * (count // LANES) + [part for part in (8, 4, 2, 1) if rest & part]


@dataclass(frozen=True)
class _Row:
    """One tile's place in the output: image, row of it (None in flat runs), first pixel, and its place in the data."""

    layout: TileLayout
    image: Any
    y: Any
    base: Any
    start: Any
    skipped: Any
    count: Any

    @classmethod
    def of(cls, writer: _Writer, tile: Any) -> _Row:
        layout, problem = writer.layout, writer.problem
        run, part = tirx.floordiv(tile, int32(layout.tiles)), tirx.floormod(tile, int32(layout.tiles))
        wanted = part * int32(layout.rows)
        base: Any = wanted
        skipped: Any = 0
        count: Any = layout.rows
        if not layout.exact:
            base = tirx.min(wanted, int32(layout.length - layout.rows))
            skipped = wanted - base
            count = int32(layout.rows) - skipped
        flat = writer.knobs.flat
        image = run if flat else tirx.floordiv(run, int32(problem.height))
        image = image if problem.batch > 1 else int32(0)
        y = None if flat else tirx.floormod(run, int32(problem.height))
        start = image * int32(problem.image_stride) + base * int32(problem.column_stride)
        if y is not None:
            start = start + y * int32(problem.row_stride)
        return cls(layout, image, y, base, start, skipped, count)

    def pixel(self, number: Any) -> tuple[Any, Any, Any]:
        """Image, row and column of a row of the tile."""
        place = self.base + number
        if self.y is not None:
            return self.image, self.y, place
        pitch = int32(self.layout.pitch)
        return self.image, tirx.floordiv(place, pitch), tirx.floormod(place, pitch)


def write_tiles(problem: TileProblem, layout: TileLayout, knobs: TileKnobs) -> Any:
    """The statement that computes `problem.output`'s buffer from the data."""
    assert layout.rows <= ROWS
    assert knobs.fit
    return _Writer(problem, layout, knobs).whole()

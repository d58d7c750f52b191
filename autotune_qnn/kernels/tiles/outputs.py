"""The output of a group of tiles: the block "output" for each pixel, reading the sums where tiles were stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import tvm_ffi
from tvm import tirx
from tvm.ir import TensorLoad
from tvm.tirx.stmt import ForKind

from autotune_qnn.kernels.geometry import ceil_div
from autotune_qnn.kernels.lane import int32
from autotune_qnn.kernels.tiles.layout import TileKnobs, TileLayout
from autotune_qnn.kernels.tiles.pieces import loop, sequence
from autotune_qnn.kernels.tiles.reading import LANES, TileProblem


@dataclass(frozen=True)
class TileRow:
    """One tile's place in the output: image, row of it (None in flat runs), first pixel, and its place in the data."""

    layout: TileLayout
    image: Any
    y: Any
    base: Any
    start: Any
    skipped: Any
    count: Any

    @classmethod
    def of(cls, problem: TileProblem, layout: TileLayout, flat: int, tile: Any) -> TileRow:
        """The place of the tile of a number, in runs over single rows or flat ones."""
        run, part = tirx.floordiv(tile, int32(layout.tiles)), tirx.floormod(tile, int32(layout.tiles))
        wanted = part * int32(layout.rows)
        base: Any = wanted
        skipped: Any = 0
        count: Any = layout.rows
        if not layout.exact:
            base = tirx.min(wanted, int32(layout.length - layout.rows))
            skipped = wanted - base
            count = int32(layout.rows) - skipped
        image = run if flat else tirx.floordiv(run, int32(problem.height))
        image = image if problem.batch > 1 else int32(0)
        y = None if flat else tirx.floormod(run, int32(problem.height))
        start = image * int32(problem.image_stride) + base * int32(problem.column_stride)
        if y is not None:
            start = start + y * int32(problem.row_stride)
        return cls(layout, image, y, base, start, skipped, count)

    def part(self, begin: Any, end: Any) -> TileRow:
        """Those of the tile's rows that lie from `begin` to before `end`; it may be none."""
        first = tirx.max(begin, self.skipped if not isinstance(self.skipped, int) else int32(self.skipped))
        count = tirx.max(tirx.min(end, int32(self.layout.rows)) - first, int32(0))
        return replace(self, skipped=first, count=count)

    def pixel(self, number: Any) -> tuple[Any, Any, Any]:
        """Image, row and column of a row of the tile."""
        place = self.base + number
        if self.y is not None:
            return self.image, self.y, place
        pitch = int32(self.layout.pitch)
        return self.image, tirx.floordiv(place, pitch), tirx.floormod(place, pitch)


def _runs(count: int) -> list[int]:
    """Vectors that make up a number of channels: whole ones, then powers of two."""
    rest = count % LANES
    return [LANES] * (count // LANES) + [part for part in (8, 4, 2, 1) if rest & part]


@dataclass(frozen=True)
class OutputWriter:
    """Statements that make outputs of the sums of a group of tiles in the buffer `sums`, [pixels, channels]."""

    problem: TileProblem
    layout: TileLayout
    knobs: TileKnobs
    sums: Any

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
    def _channel_groups(self) -> int:
        return ceil_div(self.problem.blocks, self.knobs.channel_tiles)

    def tile(self, group: Any, block: Any, place: TileRow, tile: int, columns: int) -> Any:
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
                return sequence(
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

        return loop("row", place.count, row, place.skipped)

    def _vector(self, pixel: Sequence[Any], channel: Any, line: Any, start: int, lanes: int) -> Any:
        def one(lane: Any) -> Any:
            return self._element((*pixel, channel + lane), self.sums[line, int32(start) + lane])

        return loop("lane", lanes, one, kind=ForKind.VECTORIZED)

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

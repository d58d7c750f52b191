"""The schedule template of convolutions and dense layers.

A tile of `rows` x `columns` pixels times `blocks` vectors of output channels stays in registers while all of the
reduction passes through it: each step broadcasts four bytes of every pixel and multiplies them with one vector of
weights for every block. The epilogue runs on the tile while it is still in registers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from autotune_qnn.kernels.geometry import ConvGeometry, ceil_div
from autotune_qnn.kernels.intrinsics import register_all
from autotune_qnn.kernels.isa import DotShape
from autotune_qnn.kernels.templates.base import Config, ConfigSpace, Knob, TemplateFactory
from autotune_qnn.kernels.templates.parallel import evenness, worthwhile
from autotune_qnn.kernels.templates.primitives import (
    PREFETCH,
    PREFETCH_BETWEEN,
    WEAVE,
    copy_rows,
    divisors,
    find_block,
    finish_sum,
    unroll_all,
    vectorize_last,
)
from autotune_qnn.kernels.templates.two_products import product_cycles

_UNROLLED_STEPS = 64
_LONGEST_UNROLL = 256
_EVEN = 0.95
_SHARED_WEIGHTS = 256 * 1024
_SHORT_SUM = 16
"""Steps of a sum that takes no longer than what is computed from it."""
_LONGEST_WOVEN = 64
"""Steps of sums between which the last tile's outputs are computed by default."""
_WOVEN_SUMS, _MORE_WOVEN_SUMS, _WOVEN_STEPS = 8, 14, 128
"""Vectors of sums in such a tile, the most of them for long sums by two products a cycle, and multiplications that are
unrolled.
"""
_LONG_WOVEN, _LEAST_PIXELS = 32, 2
"""Steps of those sums, and pixels of any woven tile."""
_MOST_LINES = 4
"""Lines of weights that one tile fetches at once; more would keep its own loads waiting."""
_MOST_STREAMS = 8
"""Vectors of weights a step: more lie in more places than a first-level cache has ways, and displace each other."""

_FAR_COPY, _NEAR_COPY = 256 * 1024, 16 * 1024
"""Bytes of a widened copy of the input that is better made band by band, and of a band's."""

_LANE_MACS_PER_NS = 13.75
_SLOW_LANE_MACS_PER_NS = 4.5
_LANE_OUTPUTS_PER_NS = 1.1
"""Rough speeds of one thread and lane of a vector: with dot products, without them, and of storing outputs."""


@dataclass(frozen=True)
class ConvTemplate:
    """Template of one convolution; see the module's documentation."""

    geometry: ConvGeometry
    dot: DotShape
    threads: int

    @property
    def name(self) -> str:
        """conv2d."""
        return "conv2d"

    @classmethod
    def factory(cls, geometry: ConvGeometry, dot: DotShape) -> TemplateFactory:
        """The template for each number of threads."""
        return lambda threads: cls(geometry, dot, threads)

    @cached_property
    def _blocks(self) -> int:
        return self.geometry.groups * self.geometry.padded_group_outputs(self.dot.lanes) // self.dot.lanes

    @property
    def _pointwise(self) -> bool:
        """Whether each output pixel needs one pixel of data: all tiles of an image are alike, one after the other."""
        return self.geometry.kernel[0] * self.geometry.columns == 1 and not self.geometry.padded

    @property
    def _weavable(self) -> bool:
        """Whether outputs of one tile can be computed during the next one's sums."""
        return self._pointwise and bool(self.dot.intrinsic) and not self.dot.widened

    def _registers(self, values: Mapping[str, int]) -> int:
        """Vector registers that a tile needs: accumulators, one vector of weights a block, one of data."""
        pixels, blocks = values["rows"] * values["columns"], values["blocks"]
        if self.dot.widened:  # two steps at a time, whose products are added by instructions of their own
            return pixels * blocks + 2 * blocks + 4
        weights = blocks * (1 if self.dot.pair_count == 1 else 2)
        return pixels * blocks + weights + self.dot.pair_count

    def _fits(self, values: Mapping[str, int]) -> bool:
        kernel = self.geometry.kernel[0] * self.geometry.columns if values["unroll_kernel"] else 1
        steps = values["rows"] * values["columns"] * values["blocks"] * values["quads"] * kernel
        return self._registers(values) <= self.dot.registers and steps <= _LONGEST_UNROLL

    def space(self) -> ConfigSpace:
        """The knobs.

        rows, columns, blocks: the register tile. quads: unrolled steps of the reduction. unroll_kernel: whether
        the kernel's rows and columns are unrolled too. band: tiles of rows that are finished before the next
        output channels (1: data stays in cache; all: weights do). pad_in_band: copy the border band by band.
        fetch: ask for the weights of the next channels while these are computed (not where all steps are unrolled).
        weave: compute the outputs of each tile between the multiplications of the next.
        parallel: whether the tasks, bands times channel blocks (bands alone with pad_in_band), are spread over
        threads. With all rows in one band threads share the data and split the weights, otherwise the reverse.
        """
        geometry = self.geometry
        knobs = (
            Knob("rows", divisors(geometry.out_height, 8)),
            Knob("columns", divisors(geometry.computed_width, 28)),
            Knob("blocks", divisors(self._blocks, 16)),
            Knob("quads", divisors(geometry.steps(self.dot), 16)),
            Knob("unroll_kernel", (0, 1) if geometry.kernel[0] * geometry.columns > 1 else (0,)),
            Knob("band", divisors(geometry.out_height, geometry.out_height)),
            Knob("pad_in_band", (0, 1) if geometry.copied(self.dot) else (0,)),
            Knob("fetch", (1, 0) if self.dot.intrinsic and self._blocks > 1 else (0,)),
            Knob("weave", (1, 0) if self._weavable else (0,)),
            Knob("parallel", (1, 0) if self.threads > 1 else (0,)),
        )
        return ConfigSpace(knobs, self._fits)

    def default(self) -> Config:
        """The tile with the fewest loads for its multiplications that fits the registers."""
        knobs = {knob.name: knob.values for knob in self.space().knobs}
        weave = self._weavable and self._steps <= _LONGEST_WOVEN
        woven = self._best(knobs, self._woven_score) if weave else None
        if woven is not None:
            return self._completed(woven, knobs, 1)
        best = self._best(knobs, self._score)
        assert best is not None  # one pixel and one block always fit
        return self._completed(best, knobs, 0)

    def _best(
        self, knobs: Mapping[str, tuple[int, ...]], score: Callable[[Mapping[str, int]], float | None]
    ) -> dict[str, int] | None:
        """The register tile with the highest score, None where none has one."""
        best: tuple[float, dict[str, int]] | None = None
        for rows in knobs["rows"]:
            for columns in knobs["columns"]:
                for blocks in knobs["blocks"]:
                    values = {"rows": rows, "columns": columns, "blocks": blocks}
                    if self._registers(values) > self.dot.registers:
                        continue
                    found = score(values)
                    if found is None:
                        continue
                    found *= self._evenness(values, self._even_band(values))
                    if best is None or found > best[0]:
                        best = (found, values)
        return None if best is None else best[1]

    def _woven_score(self, tile: Mapping[str, int]) -> float | None:
        """How good a tile is whose outputs are computed during the next one's sums, None where it is not.

        Both tiles' sums are in registers, and outputs are stored by fours. A load of weights takes as long as two
        broadcasts.
        """
        blocks, pixels = tile["blocks"], tile["rows"] * tile["columns"]
        if self.dot.rate > 1 and self._steps >= _LONG_WOVEN:
            fits = pixels >= _LEAST_PIXELS and _WOVEN_SUMS <= pixels * blocks <= _MORE_WOVEN_SUMS
            return 1 / product_cycles(pixels, blocks) - tile["rows"] / 1000 if fits else None
        if pixels < _LEAST_PIXELS or pixels * blocks != _WOVEN_SUMS:
            return None
        return pixels * blocks / (2 * blocks + pixels) - tile["rows"] / 1000

    def _score(self, tile: Mapping[str, int]) -> float:
        """How good a register tile seems; small ones overlap short sums with what is computed from the last."""
        blocks, pixels = tile["blocks"], tile["rows"] * tile["columns"]
        reuse = pixels * blocks / (pixels + blocks)
        if self.dot.intrinsic and self._steps <= _SHORT_SUM:
            return min(reuse, 1.0) - pixels * blocks / 64
        streams = float(bool(self.dot.intrinsic) and blocks > _MOST_STREAMS)
        if self.dot.rate > 1:
            return 1 / product_cycles(pixels, blocks) - tile["rows"] / 1000 - streams
        return min(reuse, 1.75) + min(pixels * blocks, 16) / 64 - tile["rows"] / 1000 - streams

    @property
    def _steps(self) -> int:
        """Quads of bytes that are summed up."""
        return self.geometry.kernel[0] * self.geometry.columns * self.geometry.quads

    def _completed(self, tile: dict[str, int], knobs: Mapping[str, tuple[int, ...]], weave: int) -> Config:
        work = tile["rows"] * tile["columns"] * tile["blocks"]
        longest = _WOVEN_STEPS if weave else _UNROLLED_STEPS
        steps = [quads for quads in knobs["quads"] if quads * work <= longest]
        pairs = [quads for quads in steps if quads % 2 == 0 and self.dot.widened]
        values = {**tile, "quads": max(pairs or steps, default=1)}
        kernel = self.geometry.kernel[0] * self.geometry.columns
        # Without dot-product instructions a step is many instructions, and LLVM takes seconds for long code.
        small = bool(self.dot.intrinsic) and kernel * values["quads"] * work <= _LONGEST_UNROLL // 2
        values["unroll_kernel"] = 1 if 1 in knobs["unroll_kernel"] and small else 0
        values["pad_in_band"] = int(self._pads_in_band(tile))
        values["band"] = self._even_band(tile, bool(values["pad_in_band"]))
        pixels = self.geometry.batch * self.geometry.out_height * self.geometry.computed_width
        # Weights that pass once come no sooner for being asked for.
        values["fetch"] = int(1 in knobs["fetch"] and pixels > tile["rows"] * tile["columns"])
        values["weave"] = weave
        values["parallel"] = int(self._threads > 1 and self._tasks(tile, values["band"]) > 1)
        return Config.from_mapping({name: values[name] for name in knobs})

    def _tasks(self, tile: Mapping[str, int], band: int, whole: bool = False) -> int:
        """How many tasks there are: bands of that many tiles of rows, times blocks of channels unless `whole`."""
        bands = self.geometry.batch * (self.geometry.out_height // tile["rows"] // band)
        return bands if whole else bands * (self._blocks // tile["blocks"])

    def _pads_in_band(self, tile: Mapping[str, int]) -> bool:
        """Whether every band copies its own part of the input.

        Threads save a region by that, and all of them read all weights; a widened copy stays near the processor.
        """
        if not self.geometry.copied(self.dot):
            return False
        if self._threads == 1:
            return not self.geometry.padded and self._row_bytes * self.geometry.out_height > _FAR_COPY
        kernel = self.geometry.kernel[0] * self.geometry.columns * self.geometry.quads * 4
        small = self._blocks * self.dot.lanes * kernel <= _SHARED_WEIGHTS
        return small and self._evenness(tile, self._even_band(tile, True), True) >= _EVEN

    @cached_property
    def _threads(self) -> int:
        """The threads that the default uses: one where a parallel region would cost more than it gains."""
        return self.threads if worthwhile(self._nanoseconds, self.threads, self.threads) else 1

    @property
    def _nanoseconds(self) -> float:
        """About how long one thread takes: multiplications, those of padding included, and outputs."""
        geometry = self.geometry
        vectors = geometry.batch * geometry.out_height * geometry.computed_width * self._blocks
        macs = vectors * geometry.kernel[0] * geometry.columns * geometry.quads * 4
        speed = _LANE_MACS_PER_NS if self.dot.intrinsic else _SLOW_LANE_MACS_PER_NS
        return macs / speed + vectors / _LANE_OUTPUTS_PER_NS

    @property
    def _row_bytes(self) -> int:
        """Bytes of a widened copy for one output row; none where data are not widened."""
        geometry = self.geometry
        row = geometry.padded_width * geometry.channels * geometry.strides[0]
        return 2 * row if self.dot.widened else 0

    def _evenness(self, tile: Mapping[str, int], band: int, whole: bool = False) -> float:
        return evenness(self._tasks(tile, band, whole), self._threads)

    def _even_band(self, tile: Mapping[str, int], whole: bool = False) -> int:
        """The largest band whose tasks keep all threads about equally busy, or the one that comes nearest."""
        tiles = self.geometry.out_height // tile["rows"]
        longest = (
            max(1, _NEAR_COPY // (self._row_bytes * tile["rows"])) if whole and self._row_bytes else tiles
        )
        even = {band: min(self._evenness(tile, band, whole), _EVEN) for band in divisors(tiles, longest)}
        return max(even, key=lambda band: (even[band], band))

    def apply(self, sch: Any, config: Config) -> None:
        """Schedule the blocks data_pad, window_sum, conv, corrected and output."""
        register_all()
        knob = config.as_dict()
        lanes = self.dot.lanes
        block, output, corrected = (
            sch.get_sblock("conv"),
            sch.get_sblock("output"),
            find_block(sch, "corrected"),
        )
        batch, row, column, channel = sch.get_loops(block if corrected is None else corrected)[:4]
        rows, tile_rows = sch.split(row, [None, knob["rows"]])
        columns, tile_columns = sch.split(column, [None, knob["columns"]])
        channels, tile_channels = sch.split(channel, [None, knob["blocks"] * lanes])
        bands, band = sch.split(rows, [None, self._band(knob)])
        outer = [batch, bands, channels, band, columns]
        sch.reorder(*outer, tile_rows, tile_columns, tile_channels)
        if corrected is not None:
            vectors, lane = sch.split(tile_channels, [None, lanes])
            sch.vectorize(lane)
            unroll_all(sch, [tile_rows, tile_columns, vectors])
            sch.compute_at(block, columns, preserve_unit_loops=True)
            tile_rows, tile_columns, tile_channels = sch.get_loops(block)[6:9]
        sch.reverse_compute_at(output, columns, preserve_unit_loops=True)
        unroll_all(sch, vectorize_last(sch, output, lanes)[len(outer) : -1])
        in_band = bool(knob["pad_in_band"]) and corrected is None
        task = sch.fuse(*outer[: 2 if in_band else 3])
        self._prologue(sch, knob, task if in_band else None)
        if knob["parallel"]:
            sch.parallel(task)
        update, reduction = self._tile(sch, block, knob, (tile_rows, tile_columns, tile_channels))
        finish_sum(sch, update, reduction[0], 3, self.dot.intrinsic)
        if self._pointwise:
            self._in_a_row(sch, sch.fuse(band, columns), knob)

    def _in_a_row(self, sch: Any, tiles: Any, knob: Mapping[str, int]) -> None:
        """What the loop over all tiles of one block of channels does beside them."""
        if knob["weave"]:
            sch.annotate(tiles, WEAVE, 1)
        if knob["fetch"] and self._blocks > knob["blocks"] and self._fetches_between(knob):
            sch.annotate(tiles, PREFETCH_BETWEEN, self._next_weights(knob))

    def _tile(
        self, sch: Any, block: Any, knob: Mapping[str, int], tile: tuple[Any, Any, Any]
    ) -> tuple[Any, list[Any]]:
        """Order the loops inside a tile: the reduction outside, pixels and vectors of channels unrolled inside."""
        rows, columns, channels = tile
        loops = list(sch.get_loops(block))
        kernel_row, kernel_column, quad, inner = loops[-4:]
        vectors, lane = sch.split(channels, [None, self.dot.lanes])
        quads, tile_quads = sch.split(quad, [None, knob["quads"]])
        reduction = [kernel_row, kernel_column, quads, tile_quads]
        tail = [lane, inner] if self.dot.intrinsic else [inner, lane]
        sch.reorder(*reduction, rows, columns, vectors, *tail)
        update = sch.blockize(lane) if self.dot.intrinsic else block
        if not self.dot.intrinsic:
            sch.vectorize(lane)
        unroll_all(sch, [tile_quads, rows, columns, vectors])
        self._fetch_ahead(sch, quads, knob)
        if knob["unroll_kernel"]:
            unroll_all(sch, [kernel_row, kernel_column, quads])
        return update, reduction

    def _fetch_ahead(self, sch: Any, quads: Any, knob: Mapping[str, int]) -> None:
        """While one block of channels is computed, ask for the weights of the next, where there is one."""
        wanted = knob["fetch"] and not knob["unroll_kernel"] and self._blocks > knob["blocks"]
        if wanted and not self._fetches_between(knob):
            sch.annotate(quads, PREFETCH, self._next_weights(knob))

    def _next_weights(self, knob: Mapping[str, int]) -> int:
        """Elements of one block of weights, which is how far behind the present the next begins."""
        return knob["blocks"] * self._steps * self.dot.lanes * 4

    def _fetches_between(self, knob: Mapping[str, int]) -> bool:
        """Whether each tile fetches a few lines, rather than each step one line for every vector of weights."""
        tiles = self.geometry.out_height * self.geometry.computed_width // (knob["rows"] * knob["columns"])
        lines = knob["blocks"] * self._steps
        return self._pointwise and ceil_div(lines, tiles) <= _MOST_LINES

    def _band(self, knob: Mapping[str, int]) -> int:
        """The largest divisor of the number of row tiles that the knob `band` admits."""
        return divisors(self.geometry.out_height // knob["rows"], knob["band"])[-1]

    def _prologue(self, sch: Any, knob: Mapping[str, int], band: Any | None) -> None:
        """Schedule what runs before the tiles: the window's sums, and the border (inside `band` where given)."""
        parallel = bool(knob["parallel"])
        sums = find_block(sch, "window_sum")
        if sums is not None and parallel:
            loops = sch.get_loops(sums)
            sch.parallel(sch.fuse(loops[0], loops[1]))
        pad = find_block(sch, "data_pad")
        if pad is None:
            return
        if band is not None:
            sch.compute_at(pad, band, preserve_unit_loops=True)
        if not self.geometry.padded:
            sch.fuse(*sch.get_loops(pad)[-2:])
        row = int(sch.get(sch.get_loops(pad)[-1]).extent)
        if band is None:
            copy_rows(sch, pad, self._copied_lanes(row), parallel)
        else:
            vectorize_last(sch, pad, self._copied_lanes(row))

    def _copied_lanes(self, row: int) -> int:
        """Elements of a copied row that are stored at once."""
        if not self.dot.widened:
            return 64 if self.geometry.rows else 16
        whole = [lanes for lanes in (4 * self.dot.lanes, 2 * self.dot.lanes, 8, 4) if row % lanes == 0]
        return whole[0] if whole else 16

"""The schedule template of 3x3 convolutions by Winograd's algorithm.

A band of tile rows is finished before the next one: its data are transformed to points, each of the 36 points is a
matrix product of its own with accumulators in registers, and the products of some vectors of output channels are
transformed back and stored before those of the next.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autotune_qnn.kernels.intrinsics import register_all, words_intrinsic
from autotune_qnn.kernels.isa import DotShape
from autotune_qnn.kernels.templates.base import Config, ConfigSpace, Knob, TemplateFactory
from autotune_qnn.kernels.templates.parallel import evenness, worthwhile
from autotune_qnn.kernels.templates.primitives import (
    copy_rows,
    divisors,
    find_block,
    finish_sum,
    keep_apart,
    unroll_all,
    vectorize_last,
)
from autotune_qnn.kernels.templates.two_products import product_cycles
from autotune_qnn.kernels.winograd import POINTS, WinogradGeometry

_LONGEST_UNROLL = 256
_ACCUMULATORS = 8
_PRODUCT_BYTES = 160 * 1024
_EVEN = 0.85
_COPIED = 16
_BANDS, _CHUNKS = 1, 2
"""What is spread over threads."""


@dataclass(frozen=True)
class WinogradTemplate:
    """Template of one convolution; see the module's documentation."""

    geometry: WinogradGeometry
    dot: DotShape
    threads: int

    @property
    def name(self) -> str:
        """winograd."""
        return "winograd"

    @classmethod
    def factory(cls, geometry: WinogradGeometry, dot: DotShape) -> TemplateFactory:
        """The template for each number of threads."""
        return lambda threads: cls(geometry, dot, threads)

    def _fits(self, values: Mapping[str, int]) -> bool:
        pixels = values["rows"] * values["columns"]
        registers = (pixels + 1) * values["blocks"] + 1
        steps = pixels * values["blocks"] * values["pairs"]
        chunk = values["chunk"]
        fits = values["band"] % values["rows"] == chunk % values["blocks"] == chunk % values["vectors"] == 0
        return fits and registers <= self.dot.registers and steps <= _LONGEST_UNROLL

    def space(self) -> ConfigSpace:
        """The knobs.

        band: rows of tiles that are finished before the next. chunk: vectors of output channels whose products
        are kept at a time. rows, columns, blocks: tiles and vectors of output channels in registers. pairs: unrolled
        steps of the sums. vectors: of output channels that are transformed back together. parallel: 1 spreads bands
        over threads, 2 bands times chunks (chunks alone where their weights are transformed), with the data
        transformed before.
        """
        geometry = self.geometry
        knobs = (
            Knob("band", divisors(geometry.rows, geometry.rows)),
            Knob("chunk", divisors(geometry.blocks, geometry.blocks)),
            Knob("rows", divisors(geometry.rows, 8)),
            Knob("columns", divisors(geometry.columns, 28)),
            Knob("blocks", divisors(geometry.blocks, 8)),
            Knob("pairs", divisors(geometry.pairs, 16)),
            Knob("vectors", divisors(geometry.blocks, 4)),
            Knob("parallel", self._parallel),
        )
        return ConfigSpace(knobs, self._fits)

    @property
    def _parallel(self) -> tuple[int, ...]:
        if self.threads == 1:
            return (0,)
        return (_BANDS, _CHUNKS, 0) if self.geometry.stored else (_CHUNKS, 0)

    def default(self) -> Config:
        """Few tiles and one vector in registers, bands and chunks that stay in the second-level cache."""
        geometry = self.geometry
        knobs = {knob.name: knob.values for knob in self.space().knobs}
        tile = {"pairs": 1, "vectors": 1, "parallel": 0, "band": 1, "chunk": geometry.blocks}
        tiles = [
            {**tile, "rows": rows, "band": rows, "columns": columns, "blocks": blocks}
            for rows in knobs["rows"]
            for columns in knobs["columns"]
            for blocks in knobs["blocks"]
        ]
        best = max((values for values in tiles if self._fits(values)), key=self._score)
        best["chunk"] = self._chunk(best, geometry.blocks)
        if worthwhile(geometry.nanoseconds, self.threads, self.threads):
            best.update(self._spread(best))
        return Config.from_mapping({name: best[name] for name in knobs})

    def _score(self, values: Mapping[str, int]) -> float:
        """How good a register tile seems: enough accumulators to hide the latency of products and, where a cycle
        begins one product, one vector of weights.
        """
        pixels = values["rows"] * values["columns"]
        if self.dot.rate > 1:
            return 1 / product_cycles(pixels, values["blocks"])
        accumulators = pixels * values["blocks"]
        return min(accumulators, _ACCUMULATORS) - values["blocks"] - pixels / 16

    def _chunk(self, values: Mapping[str, int], most: int) -> int:
        """The largest chunk up to `most` whose products stay in the cache."""
        sizes = [size for size in divisors(self.geometry.blocks, most) if size % values["blocks"] == 0]
        bytes_each = POINTS * POINTS * values["band"] * self.geometry.columns * self.dot.lanes * 4
        if not self.geometry.stored:
            bytes_each += POINTS * POINTS * self.geometry.pairs * self.dot.lanes * 4
        small = [size for size in sizes if size * bytes_each <= _PRODUCT_BYTES]
        return max(small, default=values["blocks"])

    def _spread(self, values: Mapping[str, int]) -> dict[str, int]:
        """Bands in parallel where they keep the threads about equally busy, otherwise chunks of them."""
        bands = self.geometry.conv.batch * self.geometry.rows // values["band"]
        if self.geometry.stored and evenness(bands, self.threads) >= _EVEN:
            return {"parallel": _BANDS}
        chunk = self._chunk(values, max(values["blocks"], self.geometry.blocks // self.threads))
        return {"parallel": _CHUNKS, "chunk": chunk}

    def apply(self, sch: Any, config: Config) -> None:
        """Schedule the blocks data_pad, rows, points, kernel_rows, kernel, products, columns, sums and output."""
        register_all()
        knob = config.as_dict()
        output = sch.get_sblock("output")
        batch, tile_row, tile_column, row, column, channel = sch.get_loops(output)
        bands, band = sch.split(tile_row, [None, knob["band"]])
        inner = [None, knob["chunk"] // knob["vectors"], knob["vectors"], self.dot.lanes]
        chunks, chunk, vectors, lane = sch.split(channel, inner)
        tasks = [batch, bands, chunks] if self.geometry.stored else [chunks, batch, bands]
        sch.reorder(*tasks, band, tile_column, chunk, row, column, vectors, lane)
        sch.vectorize(lane)
        unroll_all(sch, [row, column, vectors])
        for name in ("sums", "columns"):
            block = sch.get_sblock(name)
            sch.compute_at(block, chunk, preserve_unit_loops=True)
            unroll_all(sch, vectorize_last(sch, block, self.dot.lanes)[-4:-1])
        products = sch.get_sblock("products")
        sch.compute_at(products, tasks[-1], preserve_unit_loops=True)
        keep_apart(sch, products, 2, 4)
        self._prepare(sch, knob, tasks)
        self._multiply(sch, products, knob)

    def _prepare(self, sch: Any, knob: Mapping[str, int], tasks: list[Any]) -> None:
        """Transform the data, band by band or before everything else, and the weights; spread tasks over threads."""
        if not self.geometry.stored:
            self._transform_weights(sch, tasks[0])
            self._transform_data(sch, None, bool(knob["parallel"]))
            task = tasks[0]
        elif knob["parallel"] == _CHUNKS:
            self._transform_data(sch, None, True)
            task = sch.fuse(*tasks)
        else:
            task = sch.fuse(*tasks[:2])
            self._transform_data(sch, task, False)
        if knob["parallel"]:
            sch.parallel(task)

    def _transform_weights(self, sch: Any, chunks: Any) -> None:
        kernel, rows = sch.get_sblock("kernel"), sch.get_sblock("kernel_rows")
        sch.compute_at(kernel, chunks, preserve_unit_loops=True)
        a, b, block, pair, lane, inner = sch.get_loops(kernel)[-6:]
        sch.reorder(block, pair, a, b, lane, inner)
        sch.vectorize(sch.fuse(lane, inner))
        unroll_all(sch, [a, b])
        keep_apart(sch, kernel, 1, 2)
        sch.compute_at(rows, pair, preserve_unit_loops=True)
        *_, a, x, _, _, lane, inner = sch.get_loops(rows)
        sch.vectorize(sch.fuse(lane, inner))
        unroll_all(sch, [a, x])

    def _transform_data(self, sch: Any, band: Any | None, parallel: bool) -> None:
        """Transform the data in a band, or all of it."""
        points, rows = sch.get_sblock("points"), sch.get_sblock("rows")
        if band is not None:
            sch.compute_at(points, band, preserve_unit_loops=True)
        *outer, a, b, tile_row, tile_column, channel = sch.get_loops(points)
        words = 2 * self.dot.lanes
        words = words if self.geometry.conv.channels % words == 0 else self.dot.lanes
        channels, lane = sch.split(channel, [None, words])
        sch.reorder(tile_row, tile_column, channels, a, b, lane)
        sch.vectorize(lane)
        unroll_all(sch, [a, b])
        keep_apart(sch, points, 2, 2)
        sch.compute_at(rows, channels, preserve_unit_loops=True)
        loops = sch.get_loops(rows)
        sch.vectorize(loops[-1])
        unroll_all(sch, loops[-3:-1])
        pad = find_block(sch, "data_pad")
        if band is not None and pad is not None:
            sch.compute_at(pad, band, preserve_unit_loops=True)
            vectorize_last(sch, pad, _COPIED)
        elif pad is not None:
            copy_rows(sch, pad, _COPIED, parallel)
        if parallel:
            sch.parallel(sch.fuse(*outer, tile_row))

    def _multiply(self, sch: Any, products: Any, knob: Mapping[str, int]) -> None:
        *_, a, b, tile_row, tile_column, channel, pair, inner = sch.get_loops(products)
        rows, tile_rows = sch.split(tile_row, [None, knob["rows"]])
        columns, tile_columns = sch.split(tile_column, [None, knob["columns"]])
        blocks, tile_blocks, lane = sch.split(channel, [None, knob["blocks"], self.dot.lanes])
        pairs, tile_pairs = sch.split(pair, [None, knob["pairs"]])
        sch.reorder(
            a, b, blocks, rows, columns, pairs, tile_pairs, tile_rows, tile_columns, tile_blocks, lane, inner
        )
        unroll_all(sch, [tile_pairs, tile_rows, tile_columns, tile_blocks])
        finish_sum(sch, sch.blockize(lane), pairs, 3, words_intrinsic(self.dot))

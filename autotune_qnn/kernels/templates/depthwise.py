"""The schedule template of depthwise convolutions.

A task is a band of rows of one block of channels. It copies its input with the border, gathers the window's columns
(with VNNI), and keeps a row of accumulators in registers while the kernel's rows pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autotune_qnn.kernels.geometry import ConvGeometry, ceil_div
from autotune_qnn.kernels.intrinsics import register_all
from autotune_qnn.kernels.isa import DotShape
from autotune_qnn.kernels.templates.base import Config, ConfigSpace, Knob, TemplateFactory
from autotune_qnn.kernels.templates.parallel import evenness, worthwhile
from autotune_qnn.kernels.templates.primitives import (
    divisors,
    find_block,
    finish_sum,
    reduction_axes,
    unroll_all,
    vectorize_last,
)

_LONGEST_UNROLL = 96
_EVEN = 0.95
_MACS_PER_NS = 12.0


@dataclass(frozen=True)
class DepthwiseTemplate:
    """Template of one depthwise convolution; see the module's documentation."""

    geometry: ConvGeometry
    dot: DotShape
    threads: int

    @property
    def name(self) -> str:
        """depthwise."""
        return "depthwise"

    @classmethod
    def factory(cls, geometry: ConvGeometry, dot: DotShape) -> TemplateFactory:
        """The template for each number of threads."""
        return lambda threads: cls(geometry, dot, threads)

    def _fits(self, values: Mapping[str, int]) -> bool:
        taps = self.geometry.kernel[0] * (1 if self.dot.depthwise_intrinsic else self.geometry.kernel[1])
        used = values["columns"] + (2 if self.dot.depthwise_intrinsic else 4)
        return used <= self.dot.registers and values["columns"] * taps <= _LONGEST_UNROLL

    def space(self) -> ConfigSpace:
        """The knobs.

        columns: pixels of a row in registers. band: rows of a task. channels_outside: whether tasks run over
        channels first. parallel: whether tasks are spread over threads.
        """
        knobs = (
            Knob("columns", divisors(self.geometry.computed_width, 28)),
            Knob("band", divisors(self.geometry.out_height, 56)),
            Knob("channels_outside", (0, 1)),
            Knob("parallel", (1, 0) if self.threads > 1 else (0,)),
        )
        return ConfigSpace(knobs, self._fits)

    def default(self) -> Config:
        """Seven or so columns, and bands whose gathered rows fit the first-level cache."""
        knobs = {knob.name: knob.values for knob in self.space().knobs}
        fitting = [columns for columns in knobs["columns"] if self._fits({"columns": columns})]
        columns = min(fitting, key=lambda columns: abs(columns - 7))
        row_bytes = self.geometry.computed_width * self.dot.lanes * 5
        bands = [band for band in knobs["band"] if (band + 2) * row_bytes * self.geometry.strides[0] <= 32768]
        band, time = max(bands, default=1), self._nanoseconds
        parallel = worthwhile(time, self.threads, self._tasks(band))
        if parallel:
            even = {band: min(evenness(self._tasks(band), self.threads), _EVEN) for band in bands}
            band = max(even, key=lambda band: (even[band], band), default=1)
        return Config.of(columns=columns, band=band, channels_outside=0, parallel=int(parallel))

    @property
    def _nanoseconds(self) -> float:
        """About how long one thread takes; lanes without a channel count too."""
        geometry = self.geometry
        pixels = geometry.batch * geometry.out_height * geometry.computed_width
        lanes = ceil_div(geometry.out_channels, self.dot.lanes) * self.dot.lanes
        return pixels * lanes * geometry.kernel[0] * geometry.kernel[1] / _MACS_PER_NS

    def _tasks(self, band: int) -> int:
        """How many tasks there are: bands of that many rows, times blocks of channels."""
        geometry = self.geometry
        blocks = ceil_div(geometry.out_channels, self.dot.lanes)
        return geometry.batch * (geometry.out_height // band) * blocks

    def apply(self, sch: Any, config: Config) -> None:
        """Schedule the blocks data_pad, quads, window_sum, depthwise, corrected and output."""
        register_all()
        knob = config.as_dict()
        block, output = sch.get_sblock("depthwise"), sch.get_sblock("output")
        quads, corrected = find_block(sch, "quads"), find_block(sch, "corrected")
        batch, row, column, channel = sch.get_loops(block if corrected is None else corrected)[:4]
        bands, band = sch.split(row, [None, knob["band"]])
        columns, tile = sch.split(column, [None, knob["columns"]])
        blocks, lane = sch.split(channel, [None, self.dot.lanes])
        order = [blocks, bands] if knob["channels_outside"] else [bands, blocks]
        sch.reorder(batch, *order, band, columns, tile, lane)
        task = sch.fuse(batch, *order)
        sums = find_block(sch, "window_sum")
        if corrected is not None:
            sch.vectorize(lane)
            sch.unroll(tile)
            for products in (block, sums):
                sch.compute_at(products, columns, preserve_unit_loops=True)
        sch.reverse_compute_at(output, columns, preserve_unit_loops=True)
        unroll_all(sch, vectorize_last(sch, output, self.dot.lanes)[3:-1])
        for staged in (quads, find_block(sch, "data_pad")):
            if staged is not None:
                sch.compute_at(staged, task, preserve_unit_loops=True)
                vectorize_last(sch, staged, self.dot.lanes)
        if knob["parallel"]:
            sch.parallel(task)
        for products in (block, sums):
            if products is not None:
                self._accumulate(sch, products, quads is not None, corrected is not None)

    def _accumulate(self, sch: Any, block: Any, vnni: bool, nested: bool) -> None:
        """Order the loops inside a tile: kernel rows (and quads or columns), pixels, a vector of channels."""
        loops = list(sch.get_loops(block))
        count = reduction_axes(sch, block)
        column, channel = loops[-count - 2 : -count]
        reduction = loops[-count:]
        lane = sch.split(channel, [None, self.dot.lanes])[1] if nested else channel
        if vnni:
            kernel_row, quad, inner = reduction
            sch.reorder(kernel_row, quad, column, lane, inner)
            unroll_all(sch, [kernel_row, quad, column])
            update = sch.blockize(lane)
        else:
            sch.reorder(*reduction, column, lane)
            unroll_all(sch, [*reduction, column])
            sch.vectorize(lane)
            update = block
        finish_sum(sch, update, reduction[0], 1, self.dot.depthwise_intrinsic if vnni else "")

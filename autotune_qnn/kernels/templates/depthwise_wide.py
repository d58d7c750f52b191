"""The schedule template of depthwise convolutions over whole groups of channels.

A task is a band of rows of one group. It goes through them in tiles of a few columns of the output rows that share
quads. A tile's windows are read, interleaved, multiplied and narrowed to bytes in registers: it is unrolled entirely,
so that LLVM keeps nothing of what lies between in memory, and makes only once what neighbouring columns share.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from autotune_qnn.kernels.intrinsics import ensure
from autotune_qnn.kernels.intrinsics.interleave import narrow_intrinsic, rows_intrinsic
from autotune_qnn.kernels.intrinsics.row_pairs import row_pairs_intrinsic
from autotune_qnn.kernels.isa import DotShape
from autotune_qnn.kernels.templates.base import Config, ConfigSpace, Knob, TemplateFactory
from autotune_qnn.kernels.templates.parallel import DEPTHWISE_MACS_PER_NS, worthwhile
from autotune_qnn.kernels.templates.primitives import divisors, find_block, unroll_all
from autotune_qnn.kernels.wide import WideGeometry

_FREE_REGISTERS = 8
_SPILL_REGISTERS = 16
"""Accumulators that leave room for all else, and how many more cost as much as reading one more column a pixel."""


@dataclass(frozen=True)
class DepthwiseWideTemplate:
    """Template of one depthwise convolution; see the module's documentation."""

    wide: WideGeometry
    dot: DotShape
    output_dtype: str
    threads: int

    @property
    def name(self) -> str:
        """depthwise_wide."""
        return "depthwise_wide"

    @classmethod
    def factory(cls, wide: WideGeometry, dot: DotShape, output_dtype: str) -> TemplateFactory:
        """The template for each number of threads."""
        return lambda threads: cls(wide, dot, output_dtype, threads)

    def space(self) -> ConfigSpace:
        """The knobs.

        columns: pixels of an output row in a tile. groups_outside: whether tasks run over groups of channels first.
        parallel: whether tasks are spread over threads.
        """
        knobs = (
            Knob("columns", divisors(self.wide.columns, 8)),
            Knob("groups_outside", (0, 1)),
            Knob("parallel", (1, 0) if self.threads > 1 else (0,)),
        )
        return ConfigSpace(knobs, lambda values: self._holds(values["columns"]))

    def default(self) -> Config:
        """The tile that reads few columns for each pixel and keeps few accumulators."""
        knobs = {knob.name: knob.values for knob in self.space().knobs}
        tasks = math.prod(self.wide.tiles[:3])
        time = self.wide.conv.macs / DEPTHWISE_MACS_PER_NS
        return Config.of(
            columns=min(filter(self._holds, knobs["columns"]), key=self._cost),
            groups_outside=0,
            parallel=int(worthwhile(time, self.threads, tasks)),
        )

    def _accumulators(self, columns: int) -> int:
        """Registers of sums in a tile."""
        return columns * self.wide.rows * 4

    def _holds(self, columns: int) -> bool:
        """Whether a tile's sums fit the registers; nothing is smaller than one column."""
        return self._accumulators(columns) + 3 <= self.dot.registers or columns == 1

    def _cost(self, columns: int) -> float:
        """What a tile of so many columns costs, counted in columns that are read for each pixel."""
        read = (columns - 1) * self.wide.step + self.wide.conv.kernel[1]
        return read / columns + (self._accumulators(columns) - _FREE_REGISTERS) / _SPILL_REGISTERS

    def apply(self, sch: Any, config: Config) -> None:
        """Schedule the blocks border, data_pad, quads, depthwise, wide and output."""
        narrow = narrow_intrinsic(self.wide.group, self.output_dtype, self.wide.side)
        multiplying = row_pairs_intrinsic if self.dot.widened else rows_intrinsic
        rows = multiplying(self.wide.group, self.wide.taps)
        for name in (narrow, rows):
            ensure(name)
        knob = config.as_dict()
        values, output = sch.get_sblock("wide"), sch.get_sblock("output")
        sch.compute_inline(sch.get_sblock("quads"))
        batch, bands, groups, row, column, register, lane = sch.get_loops(values)
        shared, tile_rows = sch.split(row, [None, self.wide.rows])
        columns, tile_columns = sch.split(column, [None, knob["columns"]])
        order = [groups, bands] if knob["groups_outside"] else [bands, groups]
        sch.reorder(batch, *order, shared, columns, tile_rows, tile_columns, register, lane)
        task = sch.fuse(batch, *order)
        sch.vectorize(lane)
        unroll_all(sch, [tile_rows, tile_columns, register])
        if knob["parallel"]:
            sch.parallel(task)
        products = sch.get_sblock("depthwise")
        sch.compute_at(products, columns, preserve_unit_loops=True)
        sch.reverse_compute_at(output, columns, preserve_unit_loops=True)
        *_, tile_rows, tile_columns, outer, channel = sch.get_loops(output)
        unroll_all(sch, [tile_rows, tile_columns])
        sch.tensorize(sch.blockize(channel if self.wide.side == 1 else outer), narrow)
        self._accumulate(sch, products, rows)
        padded = sch.get_sblock("data_pad")
        sch.compute_at(padded, columns, preserve_unit_loops=True)
        *copied, channel = sch.get_loops(padded)
        unroll_all(sch, copied[-2:])
        sch.vectorize(channel)
        border = find_block(sch, "border")
        if border is not None:
            sch.compute_at(border, task, preserve_unit_loops=True)
            sch.vectorize(sch.get_loops(border)[-1])

    def _accumulate(self, sch: Any, block: Any, intrinsic: str) -> None:
        *_, row, column, register, lane, kernel_column, quad, inner = sch.get_loops(block)
        sch.reorder(kernel_column, quad, row, column, register, lane, inner)
        unroll_all(sch, [kernel_column, quad, row, column])
        update = sch.blockize(register)
        initial = sch.decompose_reduction(update, kernel_column)
        *_, register, lane = sch.get_loops(sch.get_child_blocks(initial)[0])
        sch.unroll(register)
        sch.vectorize(lane)
        unroll_all(sch, sch.get_loops(initial)[-2:])
        sch.tensorize(update, intrinsic)

"""The schedule template of depthwise convolutions over whole groups of channels.

A task is a band of rows of one group. It copies its input with the border. For each output row it
interleaves the rows of its windows, keeps tiles of accumulators in registers while the kernel's columns pass, and
narrows them to bytes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autotune_qnn.kernels.anchors.depthwise_wide import WideGeometry
from autotune_qnn.kernels.intrinsics import ensure
from autotune_qnn.kernels.intrinsics.interleave import narrow_intrinsic, quads_intrinsic
from autotune_qnn.kernels.isa import DotShape
from autotune_qnn.kernels.templates.base import Config, ConfigSpace, Knob, TemplateFactory
from autotune_qnn.kernels.templates.parallel import DEPTHWISE_MACS_PER_NS, worthwhile
from autotune_qnn.kernels.templates.primitives import divisors, unroll_all

_USUAL_COLUMNS = 4


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

    def _fits(self, values: Mapping[str, int]) -> bool:
        return values["columns"] * 4 + 3 <= self.dot.registers

    def space(self) -> ConfigSpace:
        """The knobs.

        columns: pixels of a row in registers. groups_outside: whether tasks run over groups of channels first.
        parallel: whether tasks are spread over threads.
        """
        knobs = (
            Knob("columns", divisors(self.wide.conv.out_width, 8)),
            Knob("groups_outside", (0, 1)),
            Knob("parallel", (1, 0) if self.threads > 1 else (0,)),
        )
        return ConfigSpace(knobs, self._fits)

    def default(self) -> Config:
        """About four columns, sixteen accumulators."""
        knobs = {knob.name: knob.values for knob in self.space().knobs}
        fitting = [columns for columns in knobs["columns"] if self._fits({"columns": columns})]
        tasks = math.prod(self.wide.tiles[:3])
        time = self.wide.conv.macs / DEPTHWISE_MACS_PER_NS
        return Config.of(
            columns=min(fitting, key=lambda columns: (abs(columns - _USUAL_COLUMNS), columns)),
            groups_outside=0,
            parallel=int(worthwhile(time, self.threads, tasks)),
        )

    def apply(self, sch: Any, config: Config) -> None:
        """Schedule the blocks data_pad, quads, depthwise, wide and output."""
        narrow = narrow_intrinsic(self.wide.group, self.output_dtype)
        quads = quads_intrinsic(self.wide.group, self.wide.taps)
        for name in (narrow, quads, self._dot):
            ensure(name)
        knob = config.as_dict()
        values, output = sch.get_sblock("wide"), sch.get_sblock("output")
        batch, bands, groups, row, column, register, lane = sch.get_loops(values)
        columns, tile = sch.split(column, [None, knob["columns"]])
        order = [groups, bands] if knob["groups_outside"] else [bands, groups]
        sch.reorder(batch, *order, row, columns, tile, register, lane)
        task = sch.fuse(batch, *order)
        sch.vectorize(lane)
        unroll_all(sch, [tile, register])
        products = sch.get_sblock("depthwise")
        sch.compute_at(products, columns, preserve_unit_loops=True)
        sch.reverse_compute_at(output, columns, preserve_unit_loops=True)
        loops = sch.get_loops(output)
        sch.unroll(loops[-2])
        sch.tensorize(sch.blockize(loops[-1]), narrow)
        staged = sch.get_sblock("quads")
        sch.compute_at(staged, row, preserve_unit_loops=True)
        sch.tensorize(sch.blockize(sch.get_loops(staged)[-2]), quads)
        padded = sch.get_sblock("data_pad")
        sch.compute_at(padded, task, preserve_unit_loops=True)
        sch.vectorize(sch.get_loops(padded)[-1])
        if knob["parallel"]:
            sch.parallel(task)
        self._accumulate(sch, products)

    @property
    def _dot(self) -> str:
        """The dot product over registers of this width."""
        return f"aq_depthwise_{self.wide.lanes}x4_vnni"

    def _accumulate(self, sch: Any, block: Any) -> None:
        *_, column, register, lane, kernel_column, quad, inner = sch.get_loops(block)
        sch.reorder(kernel_column, quad, column, register, lane, inner)
        unroll_all(sch, [kernel_column, quad, column, register])
        update = sch.blockize(lane)
        initial = sch.decompose_reduction(update, kernel_column)
        sch.vectorize(sch.get_loops(sch.get_child_blocks(initial)[0])[-1])
        unroll_all(sch, sch.get_loops(initial)[-2:])
        sch.tensorize(update, self._dot)

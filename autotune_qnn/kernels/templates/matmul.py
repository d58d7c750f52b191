"""The schedule template of matrix products of activations: a register tile of rows times vectors of columns."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autotune_qnn.kernels.templates.base import Config, ConfigSpace, Knob, TemplateFactory
from autotune_qnn.kernels.templates.parallel import worthwhile
from autotune_qnn.kernels.templates.primitives import copy_rows, divisors, unroll_all, vectorize_last

_MACS_PER_NS = 16.0
_REGISTERS = 16
_WANTED_ROWS = 6


@dataclass(frozen=True)
class MatmulTemplate:
    """Keeps the sums of a tile in registers while the inner dimension passes.

    Attributes:
        shape: batch, rows and padded columns of the product.
        inner: extent of the dimension that is summed over.
        lanes: of a vector of columns.
        threads: that the kernel may use.
    """

    shape: tuple[int, int, int]
    inner: int
    lanes: int
    threads: int

    @property
    def name(self) -> str:
        """batch_matmul."""
        return "batch_matmul"

    @classmethod
    def factory(cls, shape: tuple[int, int, int], inner: int, lanes: int) -> TemplateFactory:
        """The template for each number of threads."""
        return lambda threads: cls(shape, inner, lanes, threads)

    @staticmethod
    def _fits(values: Mapping[str, int]) -> bool:
        return values["rows"] * values["vectors"] + values["vectors"] + 1 <= _REGISTERS

    def space(self) -> ConfigSpace:
        """The knobs: rows and vectors of the register tile, and whether tiles are spread over threads."""
        knobs = (
            Knob("rows", divisors(self.shape[1], 12)),
            Knob("vectors", divisors(self.shape[2] // self.lanes, 4)),
            Knob("parallel", (1, 0) if self.threads > 1 else (0,)),
        )
        return ConfigSpace(knobs, self._fits)

    def default(self) -> Config:
        """About six rows times as many vectors as fit."""
        knobs = {knob.name: knob.values for knob in self.space().knobs}
        rows = max(row for row in knobs["rows"] if row <= _WANTED_ROWS)
        vectors = max(count for count in knobs["vectors"] if self._fits({"rows": rows, "vectors": count}))
        tasks = math.prod(self.shape) // (rows * vectors * self.lanes)
        time = math.prod(self.shape) * self.inner / _MACS_PER_NS
        parallel = worthwhile(time, self.threads, tasks)
        return Config.of(rows=rows, vectors=vectors, parallel=int(parallel))

    def apply(self, sch: Any, config: Config) -> None:
        """Schedule the blocks packed, matmul and output."""
        parallel = bool(config["parallel"])
        copy_rows(sch, sch.get_sblock("packed"), self.lanes, parallel)
        block, output = sch.get_sblock("matmul"), sch.get_sblock("output")
        batch, row, column, inner = sch.get_loops(block)
        rows, tile_rows = sch.split(row, [None, config["rows"]])
        columns, vectors, lane = sch.split(column, [None, config["vectors"], self.lanes])
        sch.reorder(batch, rows, columns, inner, tile_rows, vectors, lane)
        outer = sch.fuse(batch, rows, columns)
        sch.reverse_compute_at(output, outer, preserve_unit_loops=True)
        unroll_all(sch, vectorize_last(sch, output, self.lanes)[1:-1])
        sch.vectorize(lane)
        unroll_all(sch, [tile_rows, vectors])
        if parallel:
            sch.parallel(outer)
        zeros = sch.get_loops(sch.decompose_reduction(block, inner))
        sch.vectorize(zeros[-1])
        unroll_all(sch, zeros[-3:-1])

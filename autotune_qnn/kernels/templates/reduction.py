"""The schedule template of sums: a block `total` that reduces, and the elementwise `output` behind it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from autotune_qnn.kernels.templates.base import Config, ConfigSpace, Knob, TemplateFactory
from autotune_qnn.kernels.templates.primitives import one_loop, unroll_all

_PARALLEL_ELEMENTS = 16384
_SHORTEST_VECTOR = 4


@dataclass(frozen=True)
class ReductionTemplate:
    """Keeps vectors of sums along the last axis in registers while everything that is summed passes.

    Attributes:
        shape: of the result.
        along_last: whether neighbours along the result's last axis are neighbours in memory.
        threads: that the kernel may use.
        narrow: whether sums are int16.
    """

    shape: tuple[int, ...]
    along_last: bool
    threads: int
    narrow: bool = False

    @property
    def name(self) -> str:
        """reduction."""
        return "reduction"

    @classmethod
    def factory(
        cls, shape: tuple[int, ...], along_last: bool = True, narrow: bool = False
    ) -> TemplateFactory:
        """The template for each number of threads."""
        return lambda threads: cls(shape, along_last, threads, narrow)

    @property
    def _vectors(self) -> bool:
        return self.along_last and bool(self.shape) and self.shape[-1] >= _SHORTEST_VECTOR

    def space(self) -> ConfigSpace:
        """The knobs: lanes of a vector, vectors in registers, and whether outer loops run in parallel."""
        return ConfigSpace(
            (
                Knob("lanes", (16, 32, 8) if self._vectors else (1,)),
                Knob("vectors", (1, 2, 4) if self._vectors else (1,)),
                Knob("parallel", (1, 0) if self.threads > 1 else (0,)),
            )
        )

    def default(self) -> Config:
        """Vectors of 16 lanes, of 32 where those are whole, in parallel where the result is large."""
        parallel = self.threads > 1 and math.prod(self.shape) >= _PARALLEL_ELEMENTS
        wide = self._vectors and self.shape[-1] % 64 == 0
        lanes = 32 if self.narrow and self.shape[-1] % 32 == 0 else 16
        vectors = 64 // lanes if wide else 1
        return Config.of(lanes=lanes if self._vectors else 1, vectors=vectors, parallel=int(parallel))

    def apply(self, sch: Any, config: Config) -> None:
        """Schedule the blocks total and output."""
        if not self.shape:
            return
        total, output = sch.get_sblock("total"), sch.get_sblock("output")
        loops = list(sch.get_loops(total))
        spatial, reduction = loops[: len(self.shape)], loops[len(self.shape) :]
        if not self._vectors:
            outer = one_loop(sch, spatial)
            sch.reverse_compute_at(output, outer, preserve_unit_loops=True)
            if config["parallel"]:
                sch.parallel(outer)
            return
        channels, vectors, lane = sch.split(spatial[-1], [None, config["vectors"], config["lanes"]])
        sch.reorder(*spatial[:-1], channels, *reduction, vectors, lane)
        outer = one_loop(sch, [*spatial[:-1], channels])
        sch.reverse_compute_at(output, outer, preserve_unit_loops=True)
        inner = sch.get_loops(output)[-1]
        output_vectors, output_lane = sch.split(inner, [None, config["lanes"]])
        for block_lane in (lane, output_lane):
            sch.vectorize(block_lane)
        unroll_all(sch, [vectors, output_vectors])
        if config["parallel"]:
            sch.parallel(outer)
        zeros = sch.get_loops(sch.decompose_reduction(total, reduction[0]))
        sch.vectorize(zeros[-1])
        sch.unroll(zeros[-2])

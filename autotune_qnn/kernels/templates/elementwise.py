"""The schedule template of kernels that compute each output element on its own."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from autotune_qnn.kernels.templates.base import Config, ConfigSpace, Knob, TemplateFactory

_PARALLEL_ELEMENTS = 65536
_SMALL_CHANNELS = 16


@dataclass(frozen=True)
class ElementwiseTemplate:
    """Vectors along the last axis, or along the flat index where the last axis is short."""

    shape: tuple[int, ...]
    threads: int

    @property
    def name(self) -> str:
        """elementwise."""
        return "elementwise"

    @classmethod
    def factory(cls, shape: tuple[int, ...]) -> TemplateFactory:
        """The template for each number of threads."""
        return lambda threads: cls(shape, threads)

    def space(self) -> ConfigSpace:
        """The knobs: lanes of a vector, unrolled vectors, and whether the outer loop runs in parallel."""
        return ConfigSpace(
            (
                Knob("lanes", (16, 32, 64)),
                Knob("unroll", (1, 2, 4)),
                Knob("parallel", (1, 0) if self.threads > 1 else (0,)),
            )
        )

    def default(self) -> Config:
        """One vector of 16 at a time, in parallel where the tensor is large."""
        parallel = self.threads > 1 and math.prod(self.shape) >= _PARALLEL_ELEMENTS
        return Config.of(lanes=16, unroll=1, parallel=int(parallel))

    def apply(self, sch: Any, config: Config) -> None:
        """Schedule the block output."""
        output = sch.get_sblock("output")
        loops = list(sch.get_loops(output))
        if not self.shape:
            return
        if len(loops) == 1 or self.shape[-1] < _SMALL_CHANNELS:
            inner = sch.fuse(*loops) if len(loops) > 1 else loops[0]
            chunks, vectors, lane = sch.split(inner, [None, config["unroll"], config["lanes"]])
        else:
            outer = sch.fuse(*loops[:-1]) if len(loops) > 2 else loops[0]
            middle, vectors, lane = sch.split(loops[-1], [None, config["unroll"], config["lanes"]])
            chunks = sch.fuse(outer, middle)
        sch.vectorize(lane)
        sch.unroll(vectors)
        if config["parallel"]:
            sch.parallel(chunks)

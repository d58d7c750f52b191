"""The schedule template of kernels that compute each output element on its own."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from autotune_qnn.kernels.templates.base import Config, ConfigSpace, Knob, TemplateFactory

_PARALLEL_ELEMENTS = 65536
_SHORTEST_RUN = 16


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

    def _inner_axes(self) -> int:
        """How many trailing axes are one run of elements: more than one where the last is short.

        Never all of several: TVM proves neighbouring places of a run contiguous only within fewer axes.
        """
        for count in range(1, len(self.shape)):
            if math.prod(self.shape[-count:]) >= _SHORTEST_RUN:
                return count
        return max(len(self.shape) - 1, 1)

    def apply(self, sch: Any, config: Config) -> None:
        """Schedule the block output."""
        output = sch.get_sblock("output")
        loops = list(sch.get_loops(output))
        if not self.shape:
            return
        inner = self._inner_axes()
        run = sch.fuse(*loops[-inner:]) if inner > 1 else loops[-1]
        middle, vectors, lane = sch.split(run, [None, config["unroll"], config["lanes"]])
        chunks = sch.fuse(*loops[:-inner], middle) if len(loops) > inner else middle
        sch.vectorize(lane)
        sch.unroll(vectors)
        if config["parallel"]:
            sch.parallel(chunks)

"""The schedule template of concatenations: the joined axis cut where one input ends and the next begins."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import reduce
from typing import Any

from autotune_qnn.kernels.templates.base import Config, ConfigSpace, Knob, TemplateFactory
from autotune_qnn.kernels.templates.parallel import worthwhile
from autotune_qnn.kernels.templates.primitives import one_loop

_ELEMENTS_PER_NS = 8.0


@dataclass(frozen=True)
class ConcatenateTemplate:
    """Vectors along the last axis that never span two inputs, where the inputs' extents allow any.

    Attributes:
        shape: of the result.
        axis: along which inputs are joined.
        starts: place of each input along the axis, and the end of the last.
        threads: that the kernel may use.
    """

    shape: tuple[int, ...]
    axis: int
    starts: tuple[int, ...]
    threads: int

    @property
    def name(self) -> str:
        """concatenate."""
        return "concatenate"

    @classmethod
    def factory(cls, shape: tuple[int, ...], axis: int, starts: tuple[int, ...]) -> TemplateFactory:
        """The template for each number of threads."""
        return lambda threads: cls(shape, axis, starts, threads)

    def _lanes(self) -> tuple[int, ...]:
        """Vector lengths that divide the last axis and, where that is the joined one, every input's part."""
        last = self.axis == len(self.shape) - 1
        common = reduce(math.gcd, self.starts) if last else self.shape[-1]
        fitting = [lanes for lanes in (16, 32, 64, 8, 4) if common % lanes == 0]
        return tuple(fitting) or (1,)

    def space(self) -> ConfigSpace:
        """The knobs: lanes of a vector, and whether the outer loop runs in parallel."""
        return ConfigSpace(
            (Knob("lanes", self._lanes()), Knob("parallel", (1, 0) if self.threads > 1 else (0,)))
        )

    def default(self) -> Config:
        """The first vector length that fits, in parallel where the tensor is large."""
        time = math.prod(self.shape) / _ELEMENTS_PER_NS
        parallel = worthwhile(time, self.threads, math.prod(self.shape[:-1]))
        return Config.of(lanes=self._lanes()[0], parallel=int(parallel))

    def apply(self, sch: Any, config: Config) -> None:
        """Schedule the block output."""
        loops = list(sch.get_loops(sch.get_sblock("output")))
        if len(loops) > 1:
            outer = one_loop(sch, loops[:-1])
            if config["parallel"]:
                sch.parallel(outer)
        inner = loops[-1]
        if config["lanes"] > 1:
            inner, lane = sch.split(inner, [None, config["lanes"]])
            sch.vectorize(lane)
        if self.axis == len(self.shape) - 1:
            sch.annotate(inner, "pragma_loop_partition_hint", 1)

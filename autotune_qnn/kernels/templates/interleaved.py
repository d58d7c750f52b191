"""The schedule template of channels in turns: a vector of each stream in a register, then both interleaved."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from autotune_qnn.kernels.intrinsics import ensure
from autotune_qnn.kernels.intrinsics.interleave import turns_intrinsic
from autotune_qnn.kernels.templates.base import Config, ConfigSpace, Knob, TemplateFactory
from autotune_qnn.kernels.templates.parallel import worthwhile
from autotune_qnn.kernels.templates.primitives import divisors, one_loop

_ELEMENTS_PER_NS = 12.0
_UNROLLED = 4


@dataclass(frozen=True)
class InterleavedTemplate:
    """Pixel by pixel, one vector of each stream at a time.

    Attributes:
        shape: of the result.
        dtype: of the result in memory.
        vectors, vector: vectors of each stream in a pixel, and channels of one.
        threads: that the kernel may use.
    """

    shape: tuple[int, ...]
    dtype: str
    vectors: int
    vector: int
    threads: int

    @property
    def name(self) -> str:
        """interleaved."""
        return "interleaved"

    @classmethod
    def factory(cls, shape: tuple[int, ...], dtype: str, vectors: int, vector: int) -> TemplateFactory:
        """The template for each number of threads."""
        return lambda threads: cls(shape, dtype, vectors, vector, threads)

    def space(self) -> ConfigSpace:
        """The knobs: vectors of a pixel that are unrolled, and whether pixels are spread over threads."""
        return ConfigSpace(
            (
                Knob("unroll", divisors(self.vectors, 8)),
                Knob("parallel", (1, 0) if self.threads > 1 else (0,)),
            )
        )

    def default(self) -> Config:
        """Up to four vectors, in parallel where the result is large."""
        time = math.prod(self.shape) / _ELEMENTS_PER_NS
        parallel = worthwhile(time, self.threads, math.prod(self.shape[:-1]))
        return Config.of(unroll=divisors(self.vectors, _UNROLLED)[-1], parallel=int(parallel))

    def apply(self, sch: Any, config: Config) -> None:
        """Schedule the blocks streams and output."""
        intrinsic = turns_intrinsic(self.vector, self.dtype)
        ensure(intrinsic)
        streams, output = sch.get_sblock("streams"), sch.get_sblock("output")
        *outer, vector, _ = sch.get_loops(output)
        vector, unrolled = sch.split(vector, [None, config["unroll"]])
        sch.unroll(unrolled)
        sch.compute_at(streams, unrolled, preserve_unit_loops=True)
        stream, lane = sch.get_loops(streams)[-2:]
        sch.unroll(stream)
        sch.vectorize(lane)
        sch.tensorize(sch.blockize(sch.get_loops(output)[-1]), intrinsic)
        if outer and config["parallel"]:
            sch.parallel(one_loop(sch, outer))

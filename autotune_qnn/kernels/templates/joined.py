"""The schedule template of tensors joined from several inputs: a block for each, with the loops [..., vector, lane]."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from autotune_qnn.kernels.templates.base import Config, ConfigSpace, Knob, TemplateFactory
from autotune_qnn.kernels.templates.parallel import worthwhile
from autotune_qnn.kernels.templates.primitives import one_loop

_ELEMENTS_PER_NS = 16.0
_UNROLLED = 4


@dataclass(frozen=True)
class JoinedTemplate:
    """Every input on its own, pixel by pixel, in vectors.

    Attributes:
        shape: of the result.
        vectors: of each input's part of a pixel.
        threads: that the kernel may use.
    """

    shape: tuple[int, ...]
    vectors: tuple[int, ...]
    threads: int

    @property
    def name(self) -> str:
        """joined."""
        return "joined"

    @classmethod
    def factory(cls, shape: tuple[int, ...], vectors: tuple[int, ...]) -> TemplateFactory:
        """The template for each number of threads."""
        return lambda threads: cls(shape, vectors, threads)

    def space(self) -> ConfigSpace:
        """The knobs: vectors of a pixel that are unrolled, and whether pixels are spread over threads."""
        return ConfigSpace(
            (
                Knob("unroll", (1, 2, 4, 8)),
                Knob("parallel", (1, 0) if self.threads > 1 else (0,)),
            )
        )

    def default(self) -> Config:
        """Four vectors, in parallel where an input is large."""
        pixels = math.prod(self.shape[:-1])
        largest = math.prod(self.shape) / len(self.vectors)
        parallel = worthwhile(largest / _ELEMENTS_PER_NS, self.threads, pixels)
        return Config.of(unroll=_UNROLLED, parallel=int(parallel))

    def apply(self, sch: Any, config: Config) -> None:
        """Schedule the blocks part0, part1 and so on."""
        for place, vectors in enumerate(self.vectors):
            *outer, vector, lane = sch.get_loops(sch.get_sblock(f"part{place}"))
            sch.vectorize(lane)
            if vectors <= config["unroll"]:
                sch.unroll(vector)
            elif vectors % config["unroll"] == 0:
                sch.unroll(sch.split(vector, [None, config["unroll"]])[1])
            if outer and config["parallel"]:
                sch.parallel(one_loop(sch, outer))

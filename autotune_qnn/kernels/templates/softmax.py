"""The schedule template of softmax: row by row, the exponentials and the shares in vectors."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from autotune_qnn.kernels.templates.base import Config, ConfigSpace, Knob, TemplateFactory
from autotune_qnn.kernels.templates.primitives import find_block, one_loop, vectorize_last

_PARALLEL_ELEMENTS = 16384


@dataclass(frozen=True)
class SoftmaxTemplate:
    """Everything about one row at a time; see the module's documentation."""

    shape: tuple[int, ...]
    axis: int
    threads: int

    @property
    def name(self) -> str:
        """softmax."""
        return "softmax"

    @classmethod
    def factory(cls, shape: tuple[int, ...], axis: int) -> TemplateFactory:
        """The template for each number of threads."""
        return lambda threads: cls(shape, axis, threads)

    @property
    def _rows(self) -> bool:
        """Whether there is a loop over rows, and rows lie in memory one after the other."""
        return len(self.shape) > 1 and self.axis == len(self.shape) - 1

    def space(self) -> ConfigSpace:
        """The knobs: lanes of a vector, and whether rows are spread over threads."""
        return ConfigSpace(
            (
                Knob("lanes", (16, 32, 64) if self.axis == len(self.shape) - 1 else (1,)),
                Knob("parallel", (1, 0) if self.threads > 1 and self._rows else (0,)),
            )
        )

    def default(self) -> Config:
        """Vectors of 16, in parallel where the tensor is large."""
        knobs = {knob.name: knob.values for knob in self.space().knobs}
        parallel = 1 in knobs["parallel"] and math.prod(self.shape) >= _PARALLEL_ELEMENTS
        return Config.of(lanes=knobs["lanes"][0], parallel=int(parallel))

    def apply(self, sch: Any, config: Config) -> None:
        """Schedule the blocks highest, terms, total, headroom, unit and output."""
        output = sch.get_sblock("output")
        if self._rows:
            loops = sch.get_loops(output)
            row = one_loop(sch, loops[:-1])
            for name in ("unit", "headroom", "total", "terms", "highest"):
                block = find_block(sch, name)
                if block is not None:
                    sch.compute_at(block, row, preserve_unit_loops=True)
            if config["parallel"]:
                sch.parallel(row)
        if config["lanes"] > 1:
            for name in ("terms", "output"):
                vectorize_last(sch, sch.get_sblock(name), config["lanes"])

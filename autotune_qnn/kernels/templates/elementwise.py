"""The schedule template of kernels that compute each output element on its own."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from autotune_qnn.kernels.templates.base import Config, ConfigSpace, Knob, TemplateFactory
from autotune_qnn.kernels.templates.parallel import worthwhile
from autotune_qnn.kernels.templates.primitives import one_loop

_ELEMENTS_PER_NS = 16.0
_LANES = (16, 8)


@dataclass(frozen=True)
class ElementwiseTemplate:
    """Vectors along the last axis, or along the flat index where that makes whole vectors.

    Attributes:
        shape: of the result.
        threads: that the kernel may use.
        broadcast: whether an operand is repeated along leading axes, so that only neighbours along the last axis
            are neighbours in all operands.
    """

    shape: tuple[int, ...]
    threads: int
    broadcast: bool = False

    @property
    def name(self) -> str:
        """elementwise."""
        return "elementwise"

    @classmethod
    def factory(cls, shape: tuple[int, ...], broadcast: bool = False) -> TemplateFactory:
        """The template for each number of threads."""
        return lambda threads: cls(shape, threads, broadcast)

    def space(self) -> ConfigSpace:
        """The knobs: lanes of a vector, unrolled vectors, and whether the outer loop runs in parallel."""
        return ConfigSpace(
            (
                Knob("lanes", (*_LANES, 32, 64)),
                Knob("unroll", (1, 2, 4)),
                Knob("parallel", (1, 0) if self.threads > 1 else (0,)),
            )
        )

    def default(self) -> Config:
        """One vector of up to 16 at a time, in parallel where the tensor is large."""
        run = math.prod(self.shape[-self._inner_axes() :])
        lanes = next((lanes for lanes in _LANES if run % lanes == 0 and self.broadcast), _LANES[0])
        elements = math.prod(self.shape)
        tasks = elements // (lanes if run % lanes == 0 else run)
        parallel = worthwhile(elements / _ELEMENTS_PER_NS, self.threads, tasks)
        return Config.of(lanes=lanes, unroll=1, parallel=int(parallel))

    def _inner_axes(self) -> int:
        """How many trailing axes are one run of elements: the fewest that make whole vectors, else many.

        Never all of several: TVM proves neighbouring places of a run contiguous only within fewer axes.
        """
        most = max(len(self.shape) - 1, 1)
        if self.broadcast:
            return 1
        runs = {count: math.prod(self.shape[-count:]) for count in range(1, most + 1)}
        return next((count for count, run in runs.items() if run % _LANES[0] == 0), most)

    def apply(self, sch: Any, config: Config) -> None:
        """Schedule the block output."""
        output = sch.get_sblock("output")
        loops = list(sch.get_loops(output))
        if not self.shape:
            return
        inner = self._inner_axes()
        run = one_loop(sch, loops[-inner:])
        middle, vectors, lane = sch.split(run, [None, config["unroll"], config["lanes"]])
        sch.vectorize(lane)
        sch.unroll(vectors)
        outer = loops[:-inner]
        if math.prod(self.shape[-inner:]) % (config["unroll"] * config["lanes"]) == 0:
            outer.append(middle)
        else:  # the last vectors, of which only a part is stored, apart from the others
            sch.annotate(middle, "pragma_loop_partition_hint", 1)
        if outer and config["parallel"]:
            sch.parallel(one_loop(sch, outer))

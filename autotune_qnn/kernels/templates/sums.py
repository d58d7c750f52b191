"""The schedule template of float sums in a fixed order: several stages over rows, and the `output` behind them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from autotune_qnn.kernels.templates.base import Config, ConfigSpace, Knob, TemplateFactory
from autotune_qnn.kernels.templates.parallel import worthwhile
from autotune_qnn.kernels.templates.primitives import vectorize_last

_SHORTEST_VECTOR = 4
_ELEMENTS_PER_NS = 8.0


@dataclass(frozen=True)
class SumsTemplate:
    """Vectors of channels in every stage; rows are added one after the other, as the framework's result needs it.

    Attributes:
        channels: extent of the last axis of all blocks.
        stages: names of the blocks that sum, in order.
        elements: that are summed in all.
        threads: that the kernel may use.
    """

    channels: int
    stages: tuple[str, ...]
    elements: int
    threads: int

    @property
    def name(self) -> str:
        """sums."""
        return "sums"

    @classmethod
    def factory(cls, channels: int, stages: tuple[str, ...], elements: int) -> TemplateFactory:
        """The template for each number of threads."""
        return lambda threads: cls(channels, stages, elements, threads)

    @property
    def _vectors(self) -> bool:
        return self.channels >= _SHORTEST_VECTOR

    def space(self) -> ConfigSpace:
        """The knobs: lanes of a vector, and whether the vectors of every stage are spread over threads."""
        return ConfigSpace(
            (
                Knob("lanes", (16, 32, 8) if self._vectors else (1,)),
                Knob("parallel", (1, 0) if self.threads > 1 and self._vectors else (0,)),
            )
        )

    def default(self) -> Config:
        """Vectors of 16, in parallel where much is summed."""
        lanes = 16 if self._vectors else 1
        time, tasks = self.elements / _ELEMENTS_PER_NS, self.channels // lanes
        parallel = self._vectors and worthwhile(time, self.threads, tasks, len(self.stages))
        return Config.of(lanes=lanes, parallel=int(parallel))

    def apply(self, sch: Any, config: Config) -> None:
        """Schedule the stages and the block output."""
        lanes = config["lanes"]
        if lanes == 1:
            return
        vectorize_last(sch, sch.get_sblock("output"), lanes)
        for name in self.stages:
            block = sch.get_sblock(name)
            *groups, channel, row = sch.get_loops(block)
            chunk, lane = sch.split(channel, [None, lanes])
            sch.reorder(*groups, chunk, row, lane)
            sch.vectorize(lane)
            if config["parallel"]:
                sch.parallel(sch.fuse(*groups, chunk))
            zeros = sch.get_loops(sch.decompose_reduction(block, row))
            sch.vectorize(zeros[-1])

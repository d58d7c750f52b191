"""The schedule template of float sums in a fixed order: several stages over rows, and the `output` behind them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from autotune_qnn.kernels.templates.base import Config, ConfigSpace, Knob, TemplateFactory
from autotune_qnn.kernels.templates.primitives import vectorize_last

_SHORTEST_VECTOR = 4


@dataclass(frozen=True)
class SumsTemplate:
    """Vectors of channels in every stage; rows are added one after the other, as the framework's result needs it.

    Attributes:
        channels: extent of the last axis of all blocks.
        stages: names of the blocks that sum, in order.
        threads: that the kernel may use.
    """

    channels: int
    stages: tuple[str, ...]
    threads: int

    @property
    def name(self) -> str:
        """sums."""
        return "sums"

    @classmethod
    def factory(cls, channels: int, stages: tuple[str, ...]) -> TemplateFactory:
        """The template for each number of threads."""
        return lambda threads: cls(channels, stages, threads)

    def space(self) -> ConfigSpace:
        """The knobs: lanes of a vector."""
        return ConfigSpace((Knob("lanes", (16, 32, 8) if self.channels >= _SHORTEST_VECTOR else (1,)),))

    def default(self) -> Config:
        """Vectors of 16."""
        return Config.of(lanes=16 if self.channels >= _SHORTEST_VECTOR else 1)

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
            zeros = sch.get_loops(sch.decompose_reduction(block, row))
            sch.vectorize(zeros[-1])

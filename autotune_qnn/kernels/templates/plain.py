"""A schedule for kernels of plain Relax operators: copies, slices, maxima, float arithmetic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from autotune_qnn.errors import first_line
from autotune_qnn.kernels.templates.base import Config, ConfigSpace, Knob, ScheduleRejected
from autotune_qnn.kernels.templates.parallel import BYTES_PER_NS, worthwhile
from autotune_qnn.kernels.templates.primitives import TVM_SCHEDULE_ERRORS, one_loop, reduction_axes

_SPATIAL, _REDUCTION = 0, 2
_LANES = (16, 32, 64)
_SHORTEST = 8
_VECTOR_BYTES = 64


@dataclass(frozen=True)
class PlainTemplate:
    """Inlines what can be inlined; gives every other block vectors along its last axis, reductions outside them.

    Attributes:
        threads: that the kernel may use.
        bytes: that it reads and writes.
        row, item: extent of its result's last axis, and bytes of one of its elements.
        column: extent of the axis before the last.
    """

    threads: int
    bytes: int = 0
    row: int = 0
    item: int = 4
    column: int = 0

    @property
    def name(self) -> str:
        """plain."""
        return "plain"

    def _lanes(self) -> tuple[int, ...]:
        """Vector lengths: whole registers, and the longest that divides a row which those do not."""
        longest = min(self.row, _VECTOR_BYTES // self.item)
        others = [lanes for lanes in range(longest, _SHORTEST - 1, -1) if self.row % lanes == 0]
        return (*_LANES, *others[:1]) if self.row % _LANES[0] and others else _LANES

    @property
    def _short(self) -> bool:
        return 1 < self.row < _SHORTEST and self.column >= _LANES[0]

    def space(self) -> ConfigSpace:
        """The knobs: lanes of a vector, whether producers are inlined, whether loops run in parallel.

        across, where rows are short: whether vectors lie along the axis before the last, which is unrolled.
        """
        return ConfigSpace(
            (
                Knob("lanes", self._lanes()),
                Knob("inline", (1, 0)),
                Knob("parallel", (0, 1) if self.threads > 1 else (0,)),
                *((Knob("across", (0, 1)),) if self._short else ()),
            )
        )

    def default(self) -> Config:
        """Whole vectors of up to 64 bytes, producers inlined, in parallel where much memory is touched."""
        whole = [
            lanes for lanes in self._lanes() if self.row % lanes == 0 and lanes * self.item <= _VECTOR_BYTES
        ]
        parallel = worthwhile(self.bytes / BYTES_PER_NS, self.threads, self.threads)
        across = {"across": int(self.column % _LANES[0] == 0)} if self._short else {}
        return Config.of(lanes=max(whole, default=_LANES[0]), inline=1, parallel=int(parallel), **across)

    def apply(self, sch: Any, config: Config) -> None:
        """Schedule every block of the kernel."""
        root = sch.get_sblock("root")
        blocks = list(sch.get_child_blocks(root))
        if config["inline"]:
            blocks = [block for block in blocks if not _inlined(sch, block)]
        try:
            for block in blocks:
                _vectors(sch, block, config)
        except TVM_SCHEDULE_ERRORS as error:
            raise ScheduleRejected(first_line(error)) from error


def _inlined(sch: Any, block: Any) -> bool:
    if not sch.get_consumers(block) or reduction_axes(sch, block):
        return False
    try:
        sch.compute_inline(block)
    except TVM_SCHEDULE_ERRORS:
        return False
    return True


def _vectors(sch: Any, block: Any, config: Config) -> None:
    loops = list(sch.get_loops(block))
    kinds = [int(axis.iter_type) for axis in sch.get(block).iter_vars]
    if not loops or len(loops) != len(kinds) or any(kind not in (_SPATIAL, _REDUCTION) for kind in kinds):
        return
    spatial = [loop for loop, kind in zip(loops, kinds, strict=True) if kind == _SPATIAL]
    reduction = [loop for loop, kind in zip(loops, kinds, strict=True) if kind == _REDUCTION]
    if not spatial:
        return
    if "across" in config.as_dict() and config["across"] and len(spatial) > 1:
        columns, lane = sch.split(spatial[-2], [None, config["lanes"]])
        sch.reorder(*spatial[:-2], columns, spatial[-1], *reduction, lane)
        sch.unroll(spatial[-1])
        spatial = [*spatial[:-2], columns, spatial[-1]]
    else:
        outer, lane = sch.split(spatial[-1], [None, config["lanes"]])
        sch.reorder(*spatial[:-1], outer, *reduction, lane)
    sch.vectorize(lane)
    if config["parallel"] and len(spatial) > 1:
        sch.parallel(one_loop(sch, spatial[:-1]))
    if reduction:
        initial = sch.decompose_reduction(block, reduction[0])
        sch.vectorize(sch.get_loops(initial)[-1])

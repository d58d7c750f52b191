"""Multi-level tiling of kernels whose sum has several blocks before and behind it.

Two loops of tasks, over data and over output channels in either order, hold everything. For a task, the sum is computed
in register tiles around an instruction; then the chain behind it, a vector of channels at a time, as much as its blocks
mix at once. What prepares an operand is computed within one of the two loops, or before both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from autotune_qnn.kernels.intrinsics import ensure
from autotune_qnn.kernels.templates.base import Config, ConfigSpace, Knob
from autotune_qnn.kernels.templates.parallel import evenness, worthwhile
from autotune_qnn.kernels.templates.primitives import (
    divisors,
    finish_sum,
    keep_apart,
    unroll_all,
    vectorize_last,
)
from autotune_qnn.tuning.strategies.sketch_defaults import Values, best_tile
from autotune_qnn.tuning.strategies.sketch_stage_structure import Prepared, Stages

_LONGEST_TILE = 28
_LONGEST_STEP = 16
_LONGEST_UNROLL = 256
_ENOUGH_ACCUMULATORS = 8
_SUM_BYTES = 160 * 1024
_MACS_PER_NS = 110.0
_VECTOR_BYTES = 64
_EVEN = 0.85


@dataclass(frozen=True)
class StagedSketch:
    """All such sketches of one kernel as a space of knobs: implements ScheduleTemplate."""

    stages: Stages
    threads: int

    @property
    def name(self) -> str:
        """stages."""
        return "stages"

    @cached_property
    def _extents(self) -> dict[int, int]:
        """Extents of the output's axes that lead along the anchor's, the last in vectors."""
        stages, last = self.stages, self._last
        return {axis: stages.output[axis] // (stages.lanes if axis == last else 1) for axis in stages.shared}

    @cached_property
    def _last(self) -> int:
        return len(self.stages.output) - 1

    @cached_property
    def _cut(self) -> tuple[int, ...]:
        """The output's axes that may be cut."""
        return tuple(axis for axis, extent in self._extents.items() if extent > 1)

    def _tile(self, values: Values) -> dict[int, int]:
        return {axis: values.get(f"tile{axis}", 1) for axis in self._extents}

    def _task(self, values: Values) -> dict[int, int]:
        return {axis: values.get(f"task{axis}", 1) for axis in self._extents}

    def _fits(self, values: Values) -> bool:
        tile, task = self._tile(values), self._task(values)
        return all(task[axis] % tile[axis] == 0 for axis in tile) and self._tile_fits(values)

    def _tile_fits(self, values: Values) -> bool:
        tile = self._tile(values)
        inner = math.prod(values.get(f"step{head}", 1) for head in range(len(self.stages.heads)))
        sums = math.prod(tile.values())
        return sums + tile[self._last] + 1 <= self.stages.registers and sums * inner <= _LONGEST_UNROLL

    def space(self) -> ConfigSpace:
        """The knobs.

        taskN: positions along an axis of the output (vectors along the last) that a task holds, tileN: those of them
        in registers. stepN: unrolled steps of the sum. channels_outside: whether tasks run over output channels first.
        copyN: how many of the two task loops an operand's preparation lies in. parallel: whether the outer task loop is
        spread over threads.
        """
        knobs = [
            Knob(f"task{axis}", divisors(self._extents[axis], self._extents[axis])) for axis in self._cut
        ]
        knobs += [Knob(f"tile{axis}", divisors(self._extents[axis], _LONGEST_TILE)) for axis in self._cut]
        for head, extent in enumerate(self.stages.heads):
            if extent > 1:
                knobs.append(Knob(f"step{head}", divisors(extent, _LONGEST_STEP)))
        knobs.append(Knob("channels_outside", (0, 1)))
        knobs += [Knob(f"copy{place}", (0, 1, 2)) for place in range(len(self.stages.prepared))]
        knobs.append(Knob("parallel", (1, 0) if self.threads > 1 else (0,)))
        return ConfigSpace(tuple(knobs), self._fits)

    def default(self) -> Config:
        """Few positions in registers; tasks whose sums stay in the cache, or all data where weights are prepared."""
        knobs = {knob.name: knob.values for knob in self.space().knobs}
        weights = any(one.channels for one in self.stages.prepared)
        values = {name: min(admitted) for name, admitted in knobs.items()}
        values |= best_tile(knobs, self._tile_fits, self._score)
        for axis in self._cut:
            whole = weights or axis == max((a for a in self._cut if a != self._last), default=-1)
            values[f"task{axis}"] = (
                self._extents[axis] if whole and axis != self._last else values[f"tile{axis}"]
            )
        if self._last in self._cut:
            values[f"task{self._last}"] = self._default_channels(values)
        values["channels_outside"] = int(weights)
        values |= {
            f"copy{place}": int(one.channels == weights) for place, one in enumerate(self.stages.prepared)
        }
        work = math.prod(self.stages.spatial) * math.prod(self.stages.reduction)
        outer = self._outer(values)[0]
        even = evenness(outer, self.threads) >= _EVEN
        values["parallel"] = int(even and worthwhile(work / _MACS_PER_NS, self.threads, outer))
        return Config.from_mapping({name: values[name] for name in knobs})

    def _score(self, values: Values) -> float:
        """How good a register tile seems: enough sums for the multipliers, of few vectors of channels."""
        sums = math.prod(values.values())
        return min(sums, _ENOUGH_ACCUMULATORS) - values.get(f"tile{self._last}", 1) - sums / 32

    def _default_channels(self, values: Values) -> int:
        """The most vectors of channels whose sums, and weights that are prepared for them, stay in the cache."""
        stages, tile = self.stages, values[f"tile{self._last}"]
        whole = math.prod(stages.spatial[place] for place in stages.whole)
        data = math.prod(count for axis, count in self._task(values).items() if axis != self._last)
        each = whole * data * stages.lanes * 4
        weights = whole * math.prod(stages.reduction) * stages.lanes
        each += sum(weights * one.size for one in stages.prepared if one.channels)
        most = max(1, _SUM_BYTES // each)
        sizes = [size for size in divisors(self._extents[self._last], most) if size % tile == 0]
        return max(sizes, default=tile)

    def _outer(self, values: Values) -> tuple[int, int]:
        """How many tasks the outer and the inner loop have."""
        tasks = {axis: extent // self._task(values)[axis] for axis, extent in self._extents.items()}
        channels = tasks.pop(self._last)
        data = math.prod(tasks.values())
        return (channels, data) if values["channels_outside"] else (data, channels)

    def apply(self, sch: Any, config: Config) -> None:
        """Schedule every block of the kernel."""
        ensure(self.stages.dot)
        values, stages = config.as_dict(), self.stages
        tasks, inner, depth = self._loops(sch, values)
        for name in reversed(stages.chain[:-1]):
            block = sch.get_sblock(name)
            sch.compute_at(block, inner, preserve_unit_loops=True)
            unroll_all(sch, vectorize_last(sch, block, stages.lanes)[depth:-1])
        anchor = sch.get_sblock(stages.anchor)
        sch.compute_at(anchor, tasks[1], preserve_unit_loops=True)
        _keep_apart(sch, anchor, stages.whole, len(stages.spatial), 4)
        for place, prepared in enumerate(stages.prepared):
            within = values[f"copy{place}"]
            _prepare(sch, prepared, tasks[within - 1] if within else None, bool(values["parallel"]))
        if values["parallel"]:
            sch.parallel(tasks[0])
        self._sum(sch, anchor, values)

    def _loops(self, sch: Any, values: Values) -> tuple[list[Any], Any, int]:
        """Cut the output's loops; the two task loops, the innermost one of a task, and the loops down to that."""
        output = sch.get_sblock(self.stages.chain[-1])
        loops, task, lanes = list(sch.get_loops(output)), self._task(values), self.stages.lanes
        outer, inside, mixed = {}, {}, []
        for axis, loop in enumerate(loops[:-1]):
            if axis in self._extents:
                outer[axis], inside[axis] = sch.split(loop, [None, task[axis]])
            else:
                mixed.append(loop)
        channels, chunk, lane = sch.split(loops[-1], [None, task[self._last], lanes])
        data = list(outer.values())
        order = [channels, *data] if values["channels_outside"] else [*data, channels]
        sch.reorder(*order, *inside.values(), chunk, *mixed, lane)
        sch.vectorize(lane)
        unroll_all(sch, mixed)
        fused = sch.fuse(*data)
        tasks = [channels, fused] if values["channels_outside"] else [fused, channels]
        return tasks, chunk, len(inside) + 3

    def _sum(self, sch: Any, anchor: Any, values: Values) -> None:
        """Order the sum's loops, and put the instruction inside the register tile."""
        stages, tile = self.stages, self._tile(values)
        count = len(stages.spatial)
        loops = list(sch.get_loops(anchor))[-count - len(stages.reduction) :]
        whole, outer, inner = [], [], []
        for place, loop in enumerate(loops[: count - 1]):
            axis = stages.leads[place]
            if axis is None:
                whole.append(loop)
            else:
                around, within = sch.split(loop, [None, tile[axis]])
                outer.append(around)
                inner.append(within)
        blocks, vectors, lane = sch.split(loops[count - 1], [None, tile[self._last], stages.lanes])
        heads, tail = loops[count : len(loops) - stages.tail], loops[len(loops) - stages.tail :]
        cut = [sch.split(head, [None, values.get(f"step{place}", 1)]) for place, head in enumerate(heads)]
        steps = [part[1] for part in cut]
        around = [part[0] for part in cut]
        sch.reorder(*whole, blocks, *outer, *around, *steps, *inner, vectors, lane, *tail)
        unroll_all(sch, [*steps, *inner, vectors])
        finish_sum(sch, sch.blockize(lane), around[0], len(inner) + 1, stages.dot)


def _keep_apart(sch: Any, block: Any, places: Sequence[int], axes: int, size: int) -> None:
    """Keep apart what is read together along the last of some axes, where another lies within it."""
    last = max((place for place in places if place < axes - 1), default=None)
    if last is not None:
        keep_apart(sch, block, last, size)


def _prepare(sch: Any, prepared: Prepared, task: Any | None, parallel: bool) -> None:
    """Schedule the blocks that make an operand, within a task loop or before everything."""
    block = sch.get_sblock(prepared.blocks[0])
    if task is not None:
        sch.compute_at(block, task, preserve_unit_loops=True)
    _keep_apart(sch, block, prepared.mixing, prepared.axes, prepared.size)
    outer = _vectors(sch, block, prepared.axes, prepared.mixing, prepared.size)
    if prepared.mixing and len(prepared.blocks) > 1:
        step = sch.get_sblock(prepared.blocks[1])
        before = len(sch.get_loops(block)) - len(prepared.mixing) - 1
        sch.compute_at(step, outer[-1], preserve_unit_loops=True)
        mixing = range(len(sch.get_loops(step)) - before)
        _vectors(sch, step, len(mixing), tuple(mixing)[:-1], prepared.size)
    for name in prepared.blocks[2 if prepared.mixing else 1 :]:
        copied = sch.get_sblock(name)
        if task is not None:
            sch.compute_at(copied, task, preserve_unit_loops=True)
        _vectors(sch, copied, 1, (), 4)
    if task is None and parallel and len(outer) > 1:
        sch.parallel(sch.fuse(*outer[:2]) if len(outer) > 2 else outer[0])


def _vectors(sch: Any, block: Any, axes: int, mixing: Sequence[int], size: int) -> list[Any]:
    """Vectorize a block's last loop, or the last two where one is short, and unroll those over axes that it mixes.

    Returns the loops around these.
    """
    loops = list(sch.get_loops(block))[-axes:]
    *outer, last = [loop for place, loop in enumerate(loops) if place not in mixing]
    inner, lanes = [loops[place] for place in mixing], _VECTOR_BYTES // size
    extent = int(sch.get(last).extent)
    if extent < lanes and outer and int(sch.get(outer[-1]).extent) * extent == lanes:
        previous = outer.pop()
        sch.reorder(*outer, *inner, previous, last)
        sch.vectorize(sch.fuse(previous, last))
    else:
        count = next(size for size in reversed(divisors(extent, lanes)))
        around, lane = sch.split(last, [None, count])
        outer.append(around)
        if axes > 1:
            sch.reorder(*outer, *inner, lane)
        sch.vectorize(lane)
    unroll_all(sch, inner)
    return outer

"""Multi-level tiling around an instruction, for any kernel that is one sum.

From the outside in: tasks, which threads share; loops over tiles; the reduction; an unrolled part of it; and the
register tile, whose last loop is the instruction. The block behind the sum is computed from the tile while it is in
registers, what the sum reads is copied for a task, for some of its loops, or before all of them. Tiles that need more
vector registers than there are do not come up.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from autotune_qnn.kernels.intrinsics import ensure
from autotune_qnn.kernels.templates.base import Config, ConfigSpace, Knob
from autotune_qnn.kernels.templates.parallel import BYTES_PER_NS, evenness, worthwhile
from autotune_qnn.kernels.templates.primitives import (
    PREFETCH,
    divisors,
    finish_sum,
    reduction_axes,
    unroll_all,
    vectorize_last,
)
from autotune_qnn.tuning.strategies.sketch_defaults import Values, best_tile
from autotune_qnn.tuning.strategies.sketch_structure import Structure

_LONGEST_TILE = 28
_LONGEST_STEP = 16
_LONGEST_UNROLL = 256
_LONGEST_PLAIN_UNROLL = 96
_USUAL_UNROLL = 64
_TASK_ELEMENTS = 1 << 16
_COPIED = (64, 32, 16, 8, 4, 2, 1)
_EVEN = 0.95
_ENOUGH_REUSE = 1.75
_ENOUGH_ACCUMULATORS = 16
_SHORT_SUM = 16
_SHORT_SUM_PENALTY = 1 / 50
_MOST_STREAMS = 8
_MACS_PER_NS = 128.0


@dataclass(frozen=True)
class TiledSketch:
    """All sketches of one kernel as a space of knobs: implements ScheduleTemplate."""

    structure: Structure
    threads: int

    @property
    def name(self) -> str:
        """sketch."""
        return "sketch"

    @cached_property
    def _axes(self) -> range:
        return range(len(self.structure.spatial))

    @cached_property
    def _extents(self) -> tuple[int, ...]:
        """Extents of the spatial axes, the last in vectors."""
        *outer, last = self.structure.spatial
        return (*outer, last // self.structure.lanes)

    @cached_property
    def _free(self) -> tuple[int, ...]:
        """The axes that may be cut."""
        count = len(self._extents) - self.structure.whole
        return tuple(axis for axis in range(count) if self._extents[axis] > 1)

    def _tile(self, values: Values) -> list[int]:
        whole = len(self._extents) - self.structure.whole
        return [values.get(f"tile{axis}", self._extents[axis] if axis >= whole else 1) for axis in self._axes]

    def _middle(self, values: Values) -> list[int]:
        """Tiles of a task along each axis: the largest divisor that the knob admits."""
        tile = self._tile(values)
        return [
            divisors(self._extents[axis] // tile[axis], values.get(f"task{axis}", 1))[-1]
            for axis in self._axes
        ]

    def _loads(self, tile: Sequence[int]) -> list[int]:
        """Vectors of each operand that a step on a tile reads."""
        return [math.prod(tile[axis] for axis in operand.axes) for operand in self.structure.operands]

    def registers(self, values: Values) -> int:
        """Vector registers that a tile needs: its sums, the operand that is read again, and a vector of the other.

        Where both operands have lanes, each is read from memory for every step.
        """
        tile, structure = self._tile(values), self.structure
        pairs, last = structure.shape.pair_count if structure.dot else 2, len(tile) - 1
        again = all(last in operand.axes for operand in structure.operands)
        resident = 1 if again else min(self._loads(tile), default=0)
        return math.prod(tile) + (resident + 1) * pairs

    def _fits(self, values: Values) -> bool:
        inner = math.prod(values.get(f"step{axis}", 1) for axis in range(len(self.structure.heads)))
        longest = _LONGEST_UNROLL if self.structure.dot else _LONGEST_PLAIN_UNROLL
        staged = [values.get(f"copy{place}", 0) for place in range(len(self.structure.staged))]
        return (
            self.registers(values) <= self.structure.shape.registers
            and math.prod(self._tile(values)) * inner <= longest
            and all(far <= near for near, far in itertools.pairwise(staged))
        )

    @cached_property
    def _sliding(self) -> frozenset[int]:
        """The axes along which tiles read partly the same of what the packing instruction has made."""
        structure = self.structure
        found = (
            one.sliding for one in structure.operands if structure.pack and one.buffer == structure.staged[0]
        )
        return next(found, frozenset())

    def space(self) -> ConfigSpace:
        """The knobs.

        tileN: vectors (last axis) or elements of the register tile along axis N. taskN: how many such tiles a task
        has at most. stepN: unrolled steps along reduction axis N. channels_outside, channels_inside: whether the
        loops over channels are the outermost of the tasks, and the outermost within one. last_first: whether the
        last reduction axis is the outermost. copyN: under how many loops the Nth block before the sum is computed.
        store_row: whether a row of tiles is summed before anything is computed from it. fetch: whether the weights of
        the next task are asked for ahead. parallel: whether tasks are spread over threads.
        """
        structure = self.structure
        channels = structure.channel_axes & set(self._free)
        both = bool(channels) and bool(set(self._free) - channels)
        heads = [axis for axis, extent in enumerate(structure.heads) if extent > 1]
        knobs = self._tile_knobs()
        knobs += [Knob(f"step{axis}", divisors(structure.heads[axis], _LONGEST_STEP)) for axis in heads]
        stores = not structure.narrow and not structure.joined and len(self._free) > 0
        knobs += [
            Knob("channels_outside", (1, 0) if both else (0,)),
            Knob("channels_inside", (0, 1) if both and not structure.pack else (0,)),
            Knob("last_first", (0, 1) if len(heads) > 1 else (0,)),
            *(Knob(f"copy{place}", self._depths(place)) for place in range(len(structure.staged))),
            Knob("store_row", (0, 1) if stores else (0,)),
            Knob("fetch", (1, 0) if structure.dot and channels and not structure.joined else (0,)),
            Knob("parallel", (1, 0) if self.threads > 1 else (0,)),
        ]
        return ConfigSpace(tuple(knobs), self._fits)

    def _tile_knobs(self) -> list[Knob]:
        """Those of tiles and tasks. The packing instruction wants whole rows of one band and group."""
        structure, extents = self.structure, self._extents
        tiled = inner = self._free
        if structure.pack:
            tiled = tuple(axis for axis in self._free if axis in self._sliding)
            inner = tuple(axis for axis in self._free if axis not in structure.channel_axes)[-2:]
        knobs = [Knob(f"tile{axis}", divisors(extents[axis], _LONGEST_TILE)) for axis in tiled]
        for axis in inner:
            every = divisors(extents[axis], extents[axis])
            whole = structure.pack and axis in self._sliding
            knobs.append(Knob(f"task{axis}", every[-1:] if whole else every))
        return knobs

    def _depths(self, place: int) -> tuple[int, ...]:
        """Under how many loops a block before the sum may be computed."""
        if place >= self.structure.movable:
            return (0,)
        if place and self.structure.pack:
            return (0, 1)
        inner = self._inner_axes({"channels_inside": 0})
        deepest = min(map(inner.index, self._sliding)) if self.structure.pack else len(inner)
        return tuple(range(deepest + 2))

    def default(self) -> Config:
        """The tile with the fewest loads for its work; as many tiles a task as keep what they share in cache."""
        knobs = {knob.name: knob.values for knob in self.space().knobs}
        tile = best_tile(knobs, self._fits, lambda values: self._score(self._tile(values)))
        values = {name: admitted[0] for name, admitted in knobs.items()} | tile
        values |= self._default_steps(knobs, math.prod(self._tile(tile)))
        tasks = self._default_tasks(values)
        values |= {name: count for name, count in tasks.items() if count in knobs.get(name, ())}
        work = math.prod(self.structure.spatial) * math.prod(self.structure.reduction)
        rate = _MACS_PER_NS if self.structure.dot else BYTES_PER_NS
        values["parallel"] = int(worthwhile(work / rate, self.threads, math.prod(self._outer(values))))
        passes = math.prod(
            self._middle(values)[axis] for axis in self._axes if axis not in self.structure.channel_axes
        )
        values["fetch"] *= int(passes > 1)  # weights that pass once are not there sooner for being asked for
        values |= {name: min(depth, knobs[name][-1]) for name, depth in self._default_copies(values).items()}
        return Config.from_mapping(values)

    def _score(self, tile: Sequence[int]) -> float:
        """How good a register tile seems.

        What is computed from a short sum takes as long as the sum; the processor overlaps it with the next tile's
        products where tiles are small. More streams of weights than a first-level cache has ways displace each other.
        """
        sums, channels = math.prod(tile), self.structure.channel_axes
        reuse = sums / max(1, sum(self._loads(tile)))
        if self.structure.dot and math.prod(self.structure.heads) <= _SHORT_SUM:
            return min(reuse, 1.0) - sums * _SHORT_SUM_PENALTY
        rows = sum(tile[axis] for axis in self._free[:-2]) / 1000
        streams = math.prod(tile[axis] for axis in channels) > _MOST_STREAMS
        enough = min(reuse, _ENOUGH_REUSE) if reuse > 1 else 0.0
        return enough + min(sums, _ENOUGH_ACCUMULATORS) / 64 - rows - float(streams)

    def _default_steps(self, knobs: Mapping[str, tuple[int, ...]], tile: int) -> dict[str, int]:
        heads = self.structure.heads
        names = [f"step{axis}" for axis in range(len(heads)) if heads[axis] > 1]
        if self.structure.dot and math.prod(heads) * tile <= _LONGEST_UNROLL:
            return {name: knobs[name][-1] for name in names}
        steps = [value for name in names[-1:] for value in knobs[name] if value * tile <= _USUAL_UNROLL]
        return {**dict.fromkeys(names, 1), **dict.fromkeys(names[-1:], max(steps, default=1))}

    def _default_tasks(self, values: Values) -> dict[str, int]:
        """All tiles along axes of data, unless the data differ from channel to channel and there are many."""
        structure, tile = self.structure, self._tile(values)
        channels = structure.channel_axes
        shared = any(not operand.axes & channels for operand in structure.operands)
        elements, tasks = math.prod(tile) * structure.lanes, {f"task{axis}": 1 for axis in self._free}
        for axis in reversed([axis for axis in self._free if axis not in channels]):
            left = self._extents[axis] // tile[axis]
            count = left if shared else divisors(left, max(1, _TASK_ELEMENTS // elements))[-1]
            tasks[f"task{axis}"], elements = count, elements * count
            if count < left:
                break
        if self.threads > 1:
            first = next((axis for axis in self._free if axis not in channels), None)
            if first is not None:
                tasks[f"task{first}"] = self._even(values, tasks, first)
        return tasks

    def _even(self, values: Values, tasks: Mapping[str, int], axis: int) -> int:
        """The most tiles along an axis that leave the threads about equally busy."""

        def score(count: int) -> tuple[float, int]:
            number = math.prod(self._outer({**values, **tasks, f"task{axis}": count}))
            return min(evenness(number, self.threads), _EVEN), count

        return max(divisors(tasks[f"task{axis}"], tasks[f"task{axis}"]), key=score)

    def _outer(self, values: Values) -> list[int]:
        """How many tasks there are along each axis."""
        tile, middle = self._tile(values), self._middle(values)
        return [self._extents[axis] // (tile[axis] * middle[axis]) for axis in self._axes]

    def _default_copies(self, values: Values) -> dict[str, int]:
        """As far inside as nothing is computed twice; what is further away, for a task."""
        structure = self.structure
        if not structure.staged:
            return {}
        reader = next((one for one in structure.operands if one.buffer == structure.staged[0]), None)
        outer, middle = self._outer(values), self._middle(values)
        exact = (reader.axes - reader.sliding) if reader is not None else frozenset()
        if any(outer[axis] > 1 and axis not in exact for axis in self._axes):
            return {f"copy{place}": 0 for place in range(len(structure.staged))}
        near = 1
        for axis in self._inner_axes(values):
            if middle[axis] > 1 and axis not in exact:
                break
            near += 1
        if math.prod(outer) == near == 1:
            near = 0
        return {
            f"copy{place}": near if place == 0 else min(near, 1) for place in range(len(structure.staged))
        }

    def _inner_axes(self, values: Values) -> list[int]:
        """The axes of a task's loops, from the outermost in."""
        channels = self.structure.channel_axes
        return sorted(self._free, key=lambda axis: (axis in channels) != bool(values["channels_inside"]))

    def apply(self, sch: Any, config: Config) -> None:
        """Schedule every block of the kernel."""
        values, structure = config.as_dict(), self.structure
        for name in (structure.dot, structure.pack, structure.narrow):
            if name:
                ensure(name)
        loops = self._cut(sch, values)
        sums = [sch.get_sblock(name) for name in (structure.anchor, *structure.others)]
        if structure.joined:
            for block in sums:
                sch.compute_at(block, loops[-1], preserve_unit_loops=True)
        self._store(sch, loops[-1 - values["store_row"]], len(loops) - values["store_row"])
        parallel = bool(values["parallel"])
        for place, name in enumerate(structure.staged):
            self._copy(sch, name, place, loops, values[f"copy{place}"], parallel)
        for name in structure.apart if parallel else ():
            sch.parallel(sch.fuse(*sch.get_loops(sch.get_sblock(name))[:2]))
        if parallel:
            sch.parallel(loops[0])
        for block in sums:
            self._sum(sch, block, values)

    def _cut(self, sch: Any, values: Values) -> list[Any]:
        """Cut and order the loops of the first block; returns the task loop and those within it."""
        structure, lanes = self.structure, self.structure.lanes
        block = sch.get_sblock(structure.tiled)
        tile, middle, last = self._tile(values), self._middle(values), len(self._extents) - 1
        parts = []
        for axis, loop in enumerate(list(sch.get_loops(block))[: last + 1]):
            inner = tile[axis] * (lanes if axis == last else 1)
            parts.append(sch.split(loop, [None, middle[axis], inner]))
        channels = structure.channel_axes
        outer = sorted(
            self._axes, key=lambda axis: (axis not in channels) == bool(values["channels_outside"])
        )
        inside = self._inner_axes(values)
        fixed = [axis for axis in self._axes if axis not in inside]
        order = [parts[axis][0] for axis in outer] + [parts[axis][1] for axis in (*fixed, *inside)]
        tiles = [parts[axis][2] for axis in self._axes]
        sch.reorder(*order, *tiles)
        task = sch.fuse(*order[: len(outer) + len(fixed)])
        if structure.joined:
            vectors, lane = sch.split(tiles[-1], [None, lanes])
            sch.vectorize(lane)
            unroll_all(sch, [*tiles[:-1], vectors])
        return [task, *order[len(outer) + len(fixed) :]]

    def _store(self, sch: Any, loop: Any, depth: int) -> None:
        """Compute the output from a tile, or from a row of tiles."""
        output = sch.get_sblock(self.structure.output)
        sch.reverse_compute_at(output, loop, preserve_unit_loops=True)
        if self.structure.narrow:
            loops = sch.get_loops(output)
            unroll_all(sch, loops[depth:-1])
            sch.tensorize(sch.blockize(loops[-1]), self.structure.narrow)
            return
        loops = vectorize_last(sch, output, self.structure.lanes)
        unroll_all(sch, loops[depth:-1] if depth > len(self._free) else loops[-2:-1])

    def _copy(self, sch: Any, name: str, place: int, loops: list[Any], depth: int, parallel: bool) -> None:
        """Compute one of the blocks before the sum under so many loops."""
        block = sch.get_sblock(name)
        if depth:
            sch.compute_at(block, loops[depth - 1], preserve_unit_loops=True)
        if place == 0 and self.structure.pack:
            sch.tensorize(sch.blockize(sch.get_loops(block)[-2]), self.structure.pack)
            return
        row = int(sch.get(sch.get_loops(block)[-1]).extent)
        longest = 16 if str(sch.get(block).writes[0].source.dtype).endswith("32") else 64
        lanes = next(count for count in _COPIED if count <= longest and row % count == 0)
        cut = vectorize_last(sch, block, lanes)
        if parallel and not depth:
            sch.parallel(sch.fuse(*cut[:2]))

    def _sum(self, sch: Any, block: Any, values: Values) -> None:
        """Order the loops of a sum inside a tile, and put the instruction there."""
        structure, count = self.structure, len(self._extents)
        loops, sums = list(sch.get_loops(block)), reduction_axes(sch, block)
        tiles, reduction = loops[-sums - count : -sums], loops[-sums:]
        heads, tail = reduction[: sums - structure.tail], reduction[sums - structure.tail :]
        cut = [sch.split(head, [None, values.get(f"step{axis}", 1)]) for axis, head in enumerate(heads)]
        if values["last_first"]:
            cut = [cut[-1], *cut[:-1]]
        vectors, lane = sch.split(tiles[-1], [None, structure.lanes])
        tile = self._resident_inside([*tiles[:-1], vectors], values)
        outer, steps = [part[0] for part in cut], [part[1] for part in cut]
        sch.reorder(*outer, *steps, *tile, *([lane, *tail] if structure.dot else [*tail, lane]))
        unroll_all(sch, [*steps, *tile])
        if values["fetch"]:
            self._fetch(sch, outer[-1], values)
        update = sch.blockize(lane) if structure.dot else block
        if not structure.dot:
            sch.vectorize(lane)
        finish_sum(sch, update, outer[0], count, structure.dot)

    def _resident_inside(self, tile: list[Any], values: Values) -> list[Any]:
        """A tile's loops such that the operand with fewer vectors passes innermost, from registers."""
        sizes = self._loads(self._tile(values))
        if not sizes:
            return tile
        resident = self.structure.operands[sizes.index(min(sizes))].axes
        order = sorted(self._axes, key=lambda axis: axis in resident)
        return [tile[axis] for axis in order]

    def _fetch(self, sch: Any, loop: Any, values: Values) -> None:
        structure = self.structure
        vectors = math.prod(self._tile(values)[axis] for axis in structure.channel_axes)
        rounds = [extent // values.get(f"step{axis}", 1) for axis, extent in enumerate(structure.heads)]
        if math.prod(rounds) > 1:
            distance = vectors * math.prod(structure.heads) * structure.lanes * 4
            sch.annotate(loop, PREFETCH, distance)

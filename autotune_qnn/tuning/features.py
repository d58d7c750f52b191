"""What a cost model sees of a scheduled kernel: figures that explain its speed, the same for every template.

They are computed from the loops around each innermost block and from the regions that the block declares, so that
they hold for tensorized blocks as for plain ones. Most are base-2 logarithms, since times multiply.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from autotune_qnn.kernels.templates.primitives import PREFETCH, PREFETCH_BETWEEN, WEAVE
from autotune_qnn.tuning.loop_nest import (
    PARALLEL,
    UNROLLED,
    VECTORIZED,
    Access,
    Leaf,
    Loop,
    integer,
    leaves,
    width,
)
from autotune_qnn.tuning.tile_leaves import tile_leaves

VERSION = 2
"""Raised when a feature changes its meaning; records of other versions teach nothing."""

_CACHES = (32 << 10, 512 << 10)
_DIGITS = 3
_LEVELS = 4

_MARKS = {"woven": WEAVE, "fetched": PREFETCH, "fetched_between": PREFETCH_BETWEEN}
"""What annotations of the loops around the hot leaf ask for, which changes no loop: the features are their turns."""

_HOT = (
    *("steps", "lanes", "unrolled", "accumulators", "loads", "loads_per_step", "registers"),
    *("unrolled_reduction", "inner_extent", "reduction", "outside"),
    *(f"working_set_{level}" for level in range(_LEVELS)),
    *(f"traffic_{size >> 10}k" for size in _CACHES),
    *("bytes_read", "bytes_written", "tensorized", *_MARKS),
)
_WHOLE = (
    *("all_steps", "other_steps", "plain_steps", "code", "leaves", "scratch", "scratch_all"),
    *("parallel_tasks", "parallel_work", "parallel_regions", "imbalance"),
)
_SHAPE = ("macs", "first_bytes", "second_bytes", "output_bytes", "channels", "output_channels")
NAMES: tuple[str, ...] = (*(f"hot_{name}" for name in _HOT), *_WHOLE, "threads", *_SHAPE)
"""The features in order; the last of them, `shape_of`, do not depend on the schedule."""


def features(mod: Any, macs: int, threads: int) -> tuple[float, ...]:
    """The features (`NAMES`) of an IRModule's scheduled "main"; `macs` are its multiply-accumulates."""
    function = mod["main"]
    tiled = tile_leaves(function)
    found = [*leaves(function, without=("conv", "output") if tiled else ()), *tiled]
    if not found:
        return (0.0,) * len(NAMES)
    hot = max(found, key=_weight)
    values = (*_hot(hot), *_whole(found, hot, threads), float(threads), *_shape(function, macs))
    return tuple(round(value, _DIGITS) for value in values)


def shape_of(values: Sequence[float]) -> tuple[float, ...]:
    """The part of the features that tells workloads apart, whatever their schedules."""
    return tuple(values[-len(_SHAPE) :])


def workload_shape(mod: Any, macs: int) -> tuple[float, ...]:
    """What `shape_of` gives for any schedule of a workload."""
    return tuple(round(value, _DIGITS) for value in _shape(mod["main"], macs))


def _shape(function: Any, macs: int) -> tuple[float, ...]:
    """Logarithms of the work, of the sizes of the first two parameters and the last, and of their channels."""
    buffers = list(function.params)
    first, second, last = buffers[0], buffers[min(1, len(buffers) - 1)], buffers[-1]
    return (
        _log(macs),
        *(_log(_bytes(buffer)) for buffer in (first, second, last)),
        *(_log(_extents(buffer)[-1]) for buffer in (first, last)),
    )


def _extents(buffer: Any) -> list[int]:
    return [integer(extent) for extent in buffer.shape] or [1]


def _bytes(buffer: Any) -> int:
    return math.prod(_extents(buffer)) * width(buffer)


def _log(value: float) -> float:
    return math.log2(1.0 + value)


def _weight(leaf: Leaf) -> float:
    """How much of the kernel a leaf is: its steps, each by what it touches."""
    touched = sum(access.elements for access in (*leaf.reads, *leaf.writes))
    return _product(leaf.loops) * touched


def _product(loops: Sequence[Loop], *kinds: int) -> int:
    return math.prod(loop.extent for loop in loops if not kinds or loop.kind in kinds)


def _tile_start(leaf: Leaf) -> int:
    """Where the innermost run of unrolled, vectorized and single-step loops begins."""
    start = len(leaf.loops)
    while start and (
        leaf.loops[start - 1].kind in (VECTORIZED, UNROLLED) or leaf.loops[start - 1].extent == 1
    ):
        start -= 1
    return start


def _hot(leaf: Leaf) -> tuple[float, ...]:
    start = _tile_start(leaf)
    outside, tile = leaf.loops[:start], leaf.loops[start:]
    unrolled = [loop for loop in tile if loop.kind != VECTORIZED]
    lanes = _product(tile, VECTORIZED) * max((access.elements for access in leaf.writes), default=1)
    steps = _product(leaf.loops) // max(1, _product(leaf.loops, VECTORIZED))
    written = {access.buffer for access in leaf.writes}
    accumulators = sum(access.distinct(unrolled) for access in leaf.writes)
    loads = [access.distinct(unrolled) for access in leaf.reads if access.buffer not in written]
    copies = _product(unrolled)
    results = frozenset().union(*(access.loops for access in leaf.writes))
    reduction = _suffix(outside, results)
    return (
        _log(steps),
        _log(lanes),
        _log(copies),
        float(accumulators),
        float(sum(loads)),
        sum(loads) / copies,
        float(accumulators + min(loads, default=0) + 1),
        _log(copies / max(1, accumulators)),
        _log(next((loop.extent for loop in reversed(outside) if loop.extent > 1), 1)),
        _log(_product(outside[reduction:])),
        _log(_product(outside[:reduction])),
        *_working_sets(leaf, start),
        *(_log(_traffic(leaf, start, size)) for size in _CACHES),
        _log(sum(access.footprint(leaf.loops) for access in leaf.reads)),
        _log(sum(access.footprint(leaf.loops) for access in leaf.writes)),
        float(leaf.tensorized),
        *(_log(_turns(outside, mark)) for mark in _MARKS.values()),
    )


def _turns(loops: Sequence[Loop], mark: str) -> int:
    """Turns of the loop with an annotation; 0 where there is none."""
    return next((loop.extent for loop in loops if mark in loop.marks), 0)


def _suffix(loops: Sequence[Loop], results: frozenset[int]) -> int:
    """Where the innermost loops that change no result (the reduction) begin."""
    place = len(loops)
    while place and (loops[place - 1].number not in results or loops[place - 1].extent == 1):
        place -= 1
    return place


def _accesses(leaf: Leaf) -> tuple[Access, ...]:
    """Each buffer's largest access."""
    largest: dict[int, Access] = {}
    for access in (*leaf.reads, *leaf.writes):
        known = largest.get(access.buffer)
        if known is None or access.size > known.size:
            largest[access.buffer] = access
    return tuple(largest.values())


def _working_sets(leaf: Leaf, start: int) -> list[float]:
    """Bytes touched by the loops inside each of the innermost serial loops, in logarithms."""
    accesses = _accesses(leaf)
    places = [place for place in range(start) if leaf.loops[place].extent > 1][::-1][:_LEVELS]
    found = [_log(sum(access.footprint(leaf.loops[place:]) for access in accesses)) for place in places]
    return [*found, *[found[-1] if found else 0.0] * (_LEVELS - len(found))]


def _traffic(leaf: Leaf, start: int, cache: int) -> float:
    """Bytes that pass into a cache of that size, if each nest of loops that fits in it reads everything once."""
    accesses = _accesses(leaf)
    place = start
    while place and sum(access.footprint(leaf.loops[place - 1 :]) for access in accesses) <= cache:
        place -= 1
    total = 0.0
    for access in accesses:
        inner = place
        while inner and leaf.loops[inner - 1].number not in access.within:
            inner -= 1
        total += access.footprint(leaf.loops[place:]) * _product(leaf.loops[:inner])
    return total


def _whole(found: Sequence[Leaf], hot: Leaf, threads: int) -> tuple[float, ...]:
    steps = [_product(leaf.loops) // _product(leaf.loops, VECTORIZED) for leaf in found]
    main = _product(hot.loops) // _product(hot.loops, VECTORIZED)
    plain = [
        count
        for leaf, count in zip(found, steps, strict=True)
        if not leaf.tensorized and _product(leaf.loops, VECTORIZED) == 1
    ]
    scratch = {
        access.buffer: access.footprint(leaf.loops)
        for leaf in found
        for access in leaf.writes
        if access.footprint(leaf.loops) < access.limit
    }
    parallel = {
        loop.number for leaf in found for loop in leaf.loops if loop.kind == PARALLEL and loop.extent > 1
    }
    tasks = _product(hot.loops, PARALLEL)
    return (
        _log(sum(steps)),
        _log(sum(steps) - main),
        _log(sum(plain)),
        _log(sum(_product(leaf.loops[_tile_start(leaf) :]) for leaf in found)),
        float(len(found)),
        _log(max(scratch.values(), default=0)),
        _log(sum(scratch.values())),
        _log(tasks),
        _log(sum(steps) / tasks),
        float(len(parallel)),
        math.ceil(tasks / threads) * threads / tasks if tasks > 1 else float(threads),
    )

"""Small steps that several templates share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from tvm import tirx

TVM_SCHEDULE_ERRORS = (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError)
"""What TVM's schedule primitives raise: its own errors derive from RuntimeError, others keep Python's types."""

_CACHE_BYTES, _LINE_BYTES = 2048, 64

PREFETCH = "pragma_prefetch_weights"
"""Annotation of a loop: while it runs, weights so many elements behind its own are fetched (transforms/prefetch.py)."""

PREFETCH_BETWEEN = "pragma_prefetch_between"
"""Annotation of a loop over tiles: as PREFETCH, each turn its share of as many elements."""

WEAVE = "pragma_weave"
"""Annotation of a loop: each turn computes the outputs of the turn before (transforms/weave.py)."""


def divisors(value: int, limit: int) -> tuple[int, ...]:
    """The divisors of a positive integer up to a limit, ascending; 1 is always among them."""
    return tuple(divisor for divisor in range(1, min(value, limit) + 1) if value % divisor == 0)


def find_block(sch: Any, name: str) -> Any | None:
    """The block of that name, or None."""
    try:
        return sch.get_sblock(name)
    except TVM_SCHEDULE_ERRORS:
        return None


def reduction_axes(sch: Any, block: Any) -> int:
    """How many of a block's axes are summed over."""
    return sum(int(axis.iter_type) == tirx.IterVar.CommReduce for axis in sch.get(block).iter_vars)


def unroll_all(sch: Any, loops: Iterable[Any]) -> None:
    """Unroll every loop of more than one step."""
    for loop in loops:
        sch.unroll(loop)


def vectorize_last(sch: Any, block: Any, lanes: int) -> list[Any]:
    """Split the innermost loop of a block into vectors; returns the block's loops, the vector loop last."""
    loops = list(sch.get_loops(block))
    outer, inner = sch.split(loops[-1], [None, lanes])
    sch.vectorize(inner)
    return [*loops[:-1], outer, inner]


def finish_sum(sch: Any, update: Any, reduction: Any, tile: int, intrinsic: str) -> None:
    """Give a register tile its zeros before the outermost loop of the reduction, and its instruction, if any.

    `update` is the block of one vector, blockized where there is an instruction; `tile` loops around it are the tile's.
    """
    initial = sch.decompose_reduction(update, reduction)
    if intrinsic:
        sch.vectorize(sch.get_loops(sch.get_child_blocks(initial)[0])[-1])
        unroll_all(sch, sch.get_loops(initial)[-tile:])
        sch.tensorize(update, intrinsic)
        return
    loops = sch.get_loops(initial)
    sch.vectorize(loops[-1])
    unroll_all(sch, loops[-1 - tile : -1])


def one_loop(sch: Any, loops: Sequence[Any]) -> Any:
    """Neighbouring loops, one at least, as one."""
    return sch.fuse(*loops) if len(loops) > 1 else loops[0]


def copy_rows(sch: Any, block: Any, lanes: int, parallel: bool) -> None:
    """Schedule a copy over [batch, rows, ..., bytes]: vectors of bytes, rows in parallel."""
    loops = vectorize_last(sch, block, lanes)
    if parallel:
        sch.parallel(sch.fuse(loops[0], loops[1]))


def keep_apart(sch: Any, block: Any, axis: int, size: int) -> None:
    """Keep what a block writes, elements of `size` bytes, from falling on the same place of a cache along an axis."""
    sch.storage_align(block, 0, axis, factor=_CACHE_BYTES // size, offset=_LINE_BYTES // size)

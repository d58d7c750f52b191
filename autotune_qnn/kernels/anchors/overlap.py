"""Results computed in groups of channels of which the last overlaps the one before.

A tensor of 144 channels in groups of 64 has groups that start at 0, 64 and 80: every group is whole, and what two
of them compute twice is the same value. TensorIR made from expressions writes each element once, so such a kernel
is built with an output of whole groups, [batch, row, column, group, place], and its stores are then pointed to the
tensor itself.
"""

from __future__ import annotations

from typing import Any

from tvm import ir, s_tir, te, tirx


def first_channel(group: Any, size: int, channels: int) -> Any:
    """The channel at which a group of `size` begins."""
    return group * size if channels % size == 0 else te.min(group * size, channels - size)


def store_overlapping(func: Any, channels: int) -> Any:
    """The PrimFunc whose last parameter, [batch, row, column, group, place], becomes [batch, row, column, channel]."""
    old = func.params[-1]
    batch, height, width, _, size = (int(extent) for extent in old.shape)
    new = tirx.decl_buffer((batch, height, width, channels), str(old.dtype), old.name)
    body = _rewritten(func.body, old, new, size, channels)
    return tirx.PrimFunc([*func.params[:-1], new], body, func.ret_type, func.attrs)


def _rewritten(stmt: Any, old: Any, new: Any, size: int, channels: int) -> Any:
    """The statement with every store to `old` as one to `new`."""

    def inner(part: Any) -> Any:
        return _rewritten(part, old, new, size, channels)

    def place(indices: Any) -> list[Any]:
        *outer, group, channel = indices
        return [*outer, first_channel(group, size, channels) + channel]

    if isinstance(stmt, tirx.SeqStmt):
        return tirx.SeqStmt([inner(part) for part in stmt.seq])
    if isinstance(stmt, tirx.For):
        fields = (stmt.loop_var, stmt.min, stmt.extent, stmt.kind)
        return tirx.For(*fields, inner(stmt.body), stmt.thread_binding, stmt.annotations, stmt.step)
    if isinstance(stmt, s_tir.SBlockRealize):
        return s_tir.SBlockRealize(stmt.iter_values, stmt.predicate, inner(stmt.block))
    if isinstance(stmt, tirx.BufferStore) and stmt.buffer.same_as(old):
        return tirx.BufferStore(new, stmt.value, place(stmt.indices))
    if not isinstance(stmt, s_tir.SBlock):
        return stmt
    writes = [
        ir.TensorRegion(new, _single(place([part.min for part in region.region])), region.ty)
        if region.source.same_as(old)
        else region
        for region in stmt.writes
    ]
    return s_tir.SBlock(
        stmt.iter_vars,
        stmt.reads,
        writes,
        stmt.name_hint,
        inner(stmt.body),
        stmt.init,
        stmt.alloc_buffers,
        stmt.match_buffers,
        stmt.annotations,
    )


def _single(indices: list[Any]) -> list[Any]:
    """The region of one element."""
    return [ir.Range.from_min_extent(index, 1) for index in indices]

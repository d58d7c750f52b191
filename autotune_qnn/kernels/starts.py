"""Sums that start from a constant vector in place of zero: a bias that costs no addition of its own.

TensorIR made from expressions starts every sum from zero; `started` changes that in the PrimFunc.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tvm import s_tir, tirx

from autotune_qnn.kernels.statements import with_fields, with_parts


@dataclass(frozen=True)
class Start:
    """The vector (a placeholder of the kernel) that a block's sums start from, and the place in it for the block's
    axes.
    """

    vector: Any
    place: Callable[[Sequence[Any]], Any]


def started(func: Any, starts: Mapping[str, Start]) -> Any:
    """The PrimFunc in which the blocks of these names start their sums from vectors."""
    if not starts:
        return func
    buffers = {parameter.name: parameter for parameter in func.params}
    body = _rewritten(func.body, starts, buffers)
    return tirx.PrimFunc(func.params, body, func.ret_type, func.attrs)


def _rewritten(stmt: Any, starts: Mapping[str, Start], buffers: Mapping[str, Any]) -> Any:
    def inner(part: Any) -> Any:
        return _rewritten(part, starts, buffers)

    if not isinstance(stmt, s_tir.SBlock):
        return with_parts(stmt, inner)
    start = starts.get(stmt.name_hint)
    if start is None:
        return with_fields(stmt, body=inner(stmt.body))
    buffer = buffers[start.vector.op.name]
    place = start.place([axis.var for axis in stmt.iter_vars])
    first = tirx.BufferStore(stmt.init.buffer, buffer[place], stmt.init.indices)
    # The read is not declared: it belongs to the start only, and intrinsics match a block's reads one by one.
    return with_fields(stmt, init=first)

"""Keeps small buffers of a kernel on the stack, so that LLVM can hold accumulators in registers.

TVM turns every constant allocation of 1024 bytes or more into a call for workspace memory. A register tile of a
convolution is larger (28 accumulators of 64 bytes), and LLVM promotes to registers only what is on the stack. There,
however, TVM aligns to 16 bytes at most, so that a buffer named ALIGNED keeps its workspace memory.
"""

from __future__ import annotations

import math
from typing import Any

import tvm
from tvm import tirx

from autotune_qnn.kernels.statements import with_parts
from autotune_qnn.kernels.storage import ALIGNED

STACK_LIMIT_BYTES = 16384
"""Allocations up to this size stay on the stack. Worker threads have stacks of megabytes."""


def _allocation_bytes(buffer: Any) -> int | None:
    if not all(isinstance(extent, tirx.IntImm) for extent in buffer.shape):
        return None
    dtype = tvm.DataType(str(buffer.dtype))
    return math.prod(int(extent) for extent in buffer.shape) * ((dtype.bits * dtype.lanes + 7) // 8)


def _rewrite(stmt: Any) -> Any:
    if isinstance(stmt, tirx.AllocBuffer):
        size = None if stmt.buffer.name.startswith(ALIGNED) else _allocation_bytes(stmt.buffer)
        if size is not None and size <= STACK_LIMIT_BYTES:
            annotations = {**dict(stmt.annotations), "disable_lower_builtin": tirx.IntImm("int32", 1)}
            return tirx.AllocBuffer(stmt.buffer, annotations)
    return with_parts(stmt, _rewrite)


@tirx.transform.prim_func_pass(opt_level=0, name="autotune_qnn.StackAccumulators")
def stack_accumulators(func: Any, _mod: Any, _context: Any) -> Any:
    """Mark every small constant allocation of a lowered PrimFunc as one that stays on the stack."""
    return func.with_body(_rewrite(func.body))

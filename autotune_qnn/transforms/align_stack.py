"""Aligns the stack frames of kernels to vectors, so that LLVM can spill registers to aligned memory.

LLVM aligns a frame only for what it knows of before it assigns registers. TVM's own buffers ask for 16 bytes at most,
and a register of 64 bytes that is spilled to such a frame lies across two cache lines, which doubles the time of every
use. One buffer of a vector type that nothing can remove makes LLVM align the frame from the start.
"""

from __future__ import annotations

from typing import Any

from tvm import tirx

from autotune_qnn.kernels.statements import FIRST_LEVEL, prefetched, with_body, with_parts

_SCOPE = "compute_scope"
_VECTOR = "int32x16"


def _with_vector(body: Any) -> Any:
    """The body of a function of its own, with a vector in its frame."""
    buffer = tirx.decl_buffer((1,), _VECTOR, "frame")
    used = prefetched(tirx.BufferLoad(buffer, [0]), FIRST_LEVEL)
    annotations = {"disable_lower_builtin": tirx.IntImm("int32", 1)}
    return tirx.SeqStmt([tirx.AllocBuffer(buffer, annotations), used, body])


def _rewrite(stmt: Any) -> Any:
    changed = with_parts(stmt, _rewrite)
    if isinstance(changed, tirx.AttrStmt) and changed.attr_key == _SCOPE:
        return tirx.AttrStmt(changed.node, changed.attr_key, changed.value, _with_vector(changed.body))
    if isinstance(changed, tirx.For) and changed.kind == tirx.ForKind.PARALLEL:
        return with_body(changed, _with_vector(changed.body))
    return changed


@tirx.transform.prim_func_pass(opt_level=0, name="autotune_qnn.AlignStack")
def align_stack(func: Any, _mod: Any, _context: Any) -> Any:
    """Put a vector into the frame of every function that a PrimFunc becomes."""
    return func.with_body(_rewrite(func.body))

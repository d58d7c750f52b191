"""Completes the arithmetic modulo a power of two that kernels write (see kernels/wrapping.py).

LLVM's operations take a mask and a number of elements, here always all of them, and know vectors only.
"""

from __future__ import annotations

import operator
from typing import Any

import tvm
import tvm_ffi
from tvm import ir, tirx
from tvm.target import codegen

from autotune_qnn.kernels.statements import LLVM_CALL
from autotune_qnn.kernels.wrapping import OPERATIONS

_WIDE = dict(zip(OPERATIONS, (operator.add, operator.sub, operator.mul), strict=True))


def _completed(call: Any, name: str) -> Any:
    _, a, b = call.args
    dtype = tvm.DataType(str(call.ty.dtype))
    if dtype.lanes == 1:
        return _WIDE[name](a.astype("int64"), b.astype("int64")).astype(str(dtype))
    mask = tirx.Broadcast(tirx.const(1, "bool"), dtype.lanes)
    return tirx.call_llvm_pure_intrin(str(dtype), name, a, b, mask, tirx.const(dtype.lanes, "uint32"))


@tirx.transform.prim_func_pass(opt_level=0, name="autotune_qnn.CompleteWrapping")
def complete_wrapping(func: Any, _mod: Any, _context: Any) -> Any:
    """Turn the calls that `kernels.wrapping` has made into calls of LLVM's operations."""
    names = {codegen.llvm_lookup_intrinsic_id(name): name for name in OPERATIONS}

    def complete(value: Any) -> Any:
        if getattr(value.op, "name", "") != LLVM_CALL or len(value.args) != 3:
            return value
        name = names.get(int(value.args[0]))
        return value if name is None else _completed(value, name)

    return func.with_body(tvm_ffi.structural_map(func.body, (ir.Call, complete)))

"""Kernels that other kernels call: plain functions of pointers, without the checks of TVM's calling convention.

A function that TVM's runtime can call takes every tensor as an object whose shape, dtype and place it checks. Between
kernels of one network all of that is known when it is compiled.
"""

from __future__ import annotations

from typing import Any

import tvm
from tvm import ir, tirx
from tvm.tirx.function import PrimFunc

SUBROUTINE = "autotune_qnn.subroutine"
"""The attribute of kernels that only other kernels of their module call."""

_HANDLE = ir.PointerType(ir.PrimType("void"))
_CPU = 1


def _is_subroutine(function: Any) -> bool:
    return isinstance(function, PrimFunc) and SUBROUTINE in function.attrs


def _changed(mod: Any, change: Any) -> Any:
    """The module with its subroutines changed."""
    found = {variable: function for variable, function in mod.functions_items() if _is_subroutine(function)}
    if not found:
        return mod
    updated = tvm.IRModule(dict(mod.functions_items()), attrs=mod.attrs)
    for variable, function in found.items():
        updated[variable] = change(variable, function)
    return updated


@tvm.transform.module_pass(opt_level=0, name="autotune_qnn.HideSubroutines")
def hide_subroutines(mod: Any, _context: Any) -> Any:
    """Take away the names by which subroutines would be called from outside; keeps TVM from giving them its ABI."""
    return _changed(mod, lambda _variable, function: function.without_attr("global_symbol"))


def _of_pointers(variable: Any, function: Any) -> Any:
    """A function that takes the addresses of its buffers and returns 0, or -1 after an error."""
    pointers = [tirx.Var(f"{buffer.name}_address", _HANDLE) for buffer in function.params]
    declared = [
        tirx.DeclBuffer(buffer, data=tirx.reinterpret(_pointer(buffer), pointer))
        for buffer, pointer in zip(function.params, pointers, strict=True)
    ]
    zero = tirx.const(0, "int32")
    body = tirx.AttrStmt(zero, "compute_scope", ir.StringImm(f"{variable.name_hint}_body"), function.body)
    body = tirx.SeqStmt([*declared, body, tirx.Return(zero)])
    for key, value in (("device_type", _CPU), ("device_id", 0)):
        body = tirx.AttrStmt("default", key, tirx.const(value, "int32"), body)
    target = function.attrs["target"]
    attributes = {**dict(function.attrs), "target": target.host or target}
    return PrimFunc(pointers, body, ir.PrimType("int32"), ir.make_node("ir.DictAttrs", **attributes))


def _pointer(buffer: Any) -> Any:
    return ir.PointerType(ir.PrimType(str(buffer.dtype)))


@tvm.transform.module_pass(opt_level=0, name="autotune_qnn.LowerSubroutines")
def lower_subroutines(mod: Any, _context: Any) -> Any:
    """Give subroutines, their bodies lowered, addresses for parameters."""
    return _changed(mod, _of_pointers)

"""Makes one function of a network: it calls all kernels, one after the other, with addresses that are known.

TVM's virtual machine makes an object of every tensor, and hands every kernel a list of them that it checks. For small
networks that takes as long as the kernels. Here "main" only allocates the outputs and calls the function "network"
with the inputs, all constants in one tensor, and the outputs. What lies between kernels has places in one workspace.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tvm
from tvm import ir, relax, tirx
from tvm.tirx.function import PrimFunc

from autotune_qnn.dialect.constants import constant, is_constant
from autotune_qnn.kernels.storage import ALIGNED
from autotune_qnn.transforms.subroutines import SUBROUTINE

NETWORK = "network"
"""The function of the network: inputs, constants, outputs, as TVM's runtime calls it."""

CONSTANTS = "network_constants"
"""A function of the virtual machine that returns what `NETWORK` takes as its constants."""

_LINE = 64
_SMALLEST_WORKSPACE = 1024
"""Bytes from which TVM takes memory of the workspace's pool, which is aligned, and none of the stack."""

_ALLOCATE = "relax.builtin.alloc_tensor"
_RESHAPE = "relax.reshape"


class _IrregularError(Exception):
    """The network does something else than to call kernels on tensors of constant shape."""


@dataclass
class _Tensor:
    """A tensor between kernels: its bytes, and the first and last call that touch it."""

    size: int
    first: int = -1
    last: int = -1
    place: int = -1


@dataclass
class _Calls:
    """What "main" does: `calls` of kernels with arguments, each a parameter, a constant or a tensor."""

    parameters: list[Any]
    aliases: dict[Any, Any] = field(default_factory=dict)
    tensors: dict[Any, _Tensor] = field(default_factory=dict)
    calls: list[tuple[Any, list[Any]]] = field(default_factory=list)
    results: list[Any] = field(default_factory=list)

    @classmethod
    def of(cls, function: Any) -> _Calls:
        """Read "main" after calls in destination-passing style have been made. Raises _IrregularError."""
        found = cls(list(function.params))
        for block in function.body.blocks:
            for binding in block.bindings:
                found._read(binding.var, binding.value)
        result = function.body.body
        if isinstance(result, relax.Var):
            result = found.aliases.get(result, result)
        fields = list(result.fields) if isinstance(result, relax.Tuple) else [result]
        found.results = [found._source(value) for value in fields]
        distinct = all(result in found.tensors for result in found.results)
        if not distinct or len(set(found.results)) < len(found.results) or not found.calls:
            raise _IrregularError
        return found

    def _source(self, value: Any) -> Any:
        while isinstance(value, relax.Var) and value in self.aliases:
            value = self.aliases[value]
        return value

    def _read(self, variable: Any, value: Any) -> None:
        if isinstance(value, relax.Var | relax.Tuple):
            self.aliases[variable] = value
            return
        if not isinstance(value, relax.Call):
            raise _IrregularError
        if isinstance(value.op, ir.GlobalVar):
            self._call(value)
            return
        name = str(getattr(value.op, "name", ""))
        if name == _ALLOCATE:
            self.tensors[variable] = _Tensor(_bytes(value.ty))
        elif name == _RESHAPE:
            self.aliases[variable] = value.args[0]
        else:
            raise _IrregularError

    def _call(self, value: Any) -> None:
        arguments = [self._source(argument) for argument in value.args]
        for argument in arguments:
            if argument in self.tensors:
                tensor = self.tensors[argument]
                tensor.first = len(self.calls) if tensor.first < 0 else tensor.first
                tensor.last = len(self.calls)
            elif not is_constant(argument) and argument not in self.parameters:
                raise _IrregularError
        self.calls.append((value.op, arguments))


def _bytes(type_: Any) -> int:
    shape = getattr(type_, "shape", None)
    if shape is None or not all(isinstance(extent, tirx.IntImm) for extent in shape):
        raise _IrregularError
    return math.prod(int(extent) for extent in shape) * int(tvm.DataType(str(type_.dtype)).itemsize)


def place_tensors(tensors: list[tuple[int, int, int]]) -> tuple[list[int], int]:
    """Offsets of tensors in one workspace, and its size, in bytes; what lives at the same time does not overlap.

    Each tensor is its size in bytes and the first and last step at which it lives. The largest are placed first, each
    as low as it fits, at multiples of 64 bytes.
    """
    places = [0] * len(tensors)
    placed: list[int] = []
    for index in sorted(range(len(tensors)), key=lambda index: -tensors[index][0]):
        size, first, last = tensors[index]
        others = [other for other in placed if tensors[other][1] <= last and first <= tensors[other][2]]
        offset = 0
        for other in sorted(others, key=lambda other: places[other]):
            if offset + size <= places[other]:
                break
            offset = max(offset, _line(places[other] + tensors[other][0]))
        places[index] = offset
        placed.append(index)
    return places, max((places[i] + tensors[i][0] for i in placed), default=0)


def _line(size: int) -> int:
    return -(-size // _LINE) * _LINE


def _joined(calls: _Calls) -> tuple[np.ndarray[Any, Any], dict[Any, int]]:
    """All constants one after the other, and the offset of each."""
    offsets: dict[Any, int] = {}
    arrays: list[tuple[int, Any]] = []
    size = 0
    for _, arguments in calls.calls:
        for argument in arguments:
            if is_constant(argument) and argument not in offsets:
                array = np.ascontiguousarray(argument.value.numpy())
                offsets[argument] = size
                arrays.append((size, array))
                size += _line(array.nbytes)
    joined = np.zeros(max(size, 1), np.uint8)
    for offset, array in arrays:
        joined[offset : offset + array.nbytes] = array.reshape(-1).view(np.uint8)
    return joined, offsets


def _function(calls: _Calls, inputs: list[Any], outputs: list[Any], constants: int, offsets: Any) -> Any:
    """The PrimFunc `NETWORK`."""
    between = [tensor for tensor in calls.tensors if tensor not in calls.results]
    lives = [calls.tensors[tensor] for tensor in between]
    places, size = place_tensors([(life.size, life.first, life.last) for life in lives])
    buffers = {}
    for number, (variable, type_) in enumerate([*inputs, *outputs]):
        shape = [int(extent) for extent in type_.shape]
        buffers[variable] = tirx.decl_buffer(shape, str(type_.dtype), f"tensor{number}")
    weights = tirx.decl_buffer((constants,), "uint8", "constants")
    size = max(size, _SMALLEST_WORKSPACE)
    workspace = tirx.decl_buffer((size,), "uint8", f"{ALIGNED}workspace")
    where = dict(zip(between, places, strict=True))

    def address(value: Any) -> Any:
        if value in buffers:
            return tirx.address_of(buffers[value])
        if is_constant(value):
            return tirx.address_of(tirx.BufferLoad(weights, [offsets[value]]))
        return tirx.address_of(tirx.BufferLoad(workspace, [where[value]]))

    def step(kernel: Any, arguments: list[Any]) -> Any:
        called = ir.Call(kernel, [address(argument) for argument in arguments], ret_ty="int32")
        failed = tirx.Evaluate(tirx.tvm_throw_last_error())
        return tirx.IfThenElse(tirx.NE(called, tirx.const(0, "int32")), failed, None)

    steps = [step(*call) for call in calls.calls]
    whole = tirx.Evaluate(tirx.address_of(tirx.BufferLoad(workspace, [size - 1])))
    body = tirx.SeqStmt([tirx.AllocBuffer(workspace), whole, *steps])
    given = [buffers[variable] for variable, _ in inputs]
    made = [buffers[variable] for variable, _ in outputs]
    attributes = {"global_symbol": NETWORK, "tirx.noalias": True, "s_tir": True}
    attrs = ir.make_node("ir.DictAttrs", **attributes)
    return PrimFunc([*given, weights, *made], body, None, attrs)


def _rewritten(mod: Any, calls: _Calls) -> Any:
    """The module in which "main" calls `NETWORK`."""
    main = mod["main"]
    joined, offsets = _joined(calls)
    types = main.ret_ty.fields if isinstance(main.ret_ty, ir.TupleType) else [main.ret_ty]
    inputs = [(parameter, parameter.ty) for parameter in calls.parameters]
    outputs = list(zip(calls.results, types, strict=True))
    function = _function(calls, inputs, outputs, joined.size, offsets)
    kernels = {kernel for kernel, _ in calls.calls}
    functions = {
        variable: value.with_attr(SUBROUTINE, True) if variable in kernels else value
        for variable, value in mod.functions_items()
        if variable.name_hint != "main"
    }
    builder = relax.BlockBuilder(tvm.IRModule(functions, attrs=mod.attrs))
    network = builder.add_func(function, NETWORK)
    constants = constant(joined)
    parameters = [relax.Var(parameter.name, parameter.ty) for parameter in calls.parameters]
    with builder.function("main", parameters, attrs={"relax.force_pure": True}):
        made = [builder.emit(_allocation(type_)) for type_ in types]
        builder.emit(relax.Call(network, [*parameters, constants, *made], ret_ty=ir.TupleType([])))
        single = not isinstance(main.ret_ty, ir.TupleType)
        builder.emit_func_output(made[0] if single else relax.Tuple(made))
    with builder.function(CONSTANTS, [], attrs={"relax.force_pure": True}):
        builder.emit_func_output(builder.emit(constants))
    return builder.get()


def _allocation(type_: Any) -> Any:
    return relax.op.builtin.alloc_tensor(type_.shape, str(type_.dtype), 0)


@tvm.transform.module_pass(opt_level=0, name="autotune_qnn.NetworkFunction")
def network_function(mod: Any, _context: Any) -> Any:
    """Let "main" call one function; a module that does something else than to call kernels stays as it is."""
    try:
        calls = _Calls.of(mod["main"])
    except _IrregularError:
        return mod
    return _rewritten(mod, calls)

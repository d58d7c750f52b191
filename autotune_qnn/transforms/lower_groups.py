"""Replaces each group of QNN operators by a call of its kernel; keeps plain Relax operators, on stored tensors."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tvm
from tvm import relax

from autotune_qnn.dialect.constants import constant, constant_value, is_constant
from autotune_qnn.errors import BuildError
from autotune_qnn.kernels.anchors import needs_unsigned
from autotune_qnn.kernels.isa import Isa
from autotune_qnn.kernels.kernel import Kernel, KernelGroup, build_kernel
from autotune_qnn.kernels.storage import Storage, external, internal
from autotune_qnn.transforms.grouping import (
    Group,
    bindings,
    dtype_of,
    find_groups,
    operator_name,
    shape_of,
)
from autotune_qnn.transforms.plain_operators import on_stored, works_on_stored

_FUSION_OPAQUE = 8


@dataclass
class LoweredKernel:
    """A kernel of the lowered module: its global function, and the groups of operators that call it."""

    function: str
    kernel: Kernel
    key: str
    groups: list[Group] = field(default_factory=list)
    storages: tuple[Storage, ...] = ()
    output: Storage = field(default_factory=lambda: Storage("uint8"))


def workload_key(func: Any) -> str:
    """sha256 of an unscheduled PrimFunc's text: equal kernels have equal keys in every process."""
    return hashlib.sha256(func.script(show_meta=False).encode()).hexdigest()


class GroupLowering:
    """Lowers the function "main" of a module in the QNN dialect."""

    def __init__(self, mod: Any, isa: Isa) -> None:
        self.isa = isa
        self.function = mod["main"]
        self.builder = relax.BlockBuilder()
        self.kernels: dict[str, LoweredKernel] = {}
        self._stored: dict[Any, Any] = {}
        self._storage: dict[Any, Storage] = {}
        self._logical: dict[Any, Any] = {}
        self._outputs = self._output_variables()

    def _output_variables(self) -> list[Any]:
        """The variables that the function returns, seen through renaming."""
        defined = {binding.var: binding.value for binding in bindings(self.function)}

        def source(expression: Any) -> Any:
            while isinstance(expression, relax.Var) and isinstance(defined.get(expression), relax.Var):
                expression = defined[expression]
            return expression

        result = source(self.function.body.body)
        value = defined.get(result) if isinstance(result, relax.Var) else result
        fields = value.fields if isinstance(value, relax.Tuple) else [result]
        return [source(field_) for field_ in fields]

    def run(self) -> Any:
        """The lowered module: "main" calls kernels, each a private PrimFunc of the module."""
        groups = {group.output: group for group in find_groups(self.function)}
        inside = {variable for group in groups.values() for variable, _ in group.steps}
        parameters = [relax.Var(p.name, p.ty) for p in self.function.params]
        with self.builder.function("main", parameters):
            with self.builder.dataflow():
                for old, new in zip(self.function.params, parameters, strict=True):
                    self._define(old, new, external(dtype_of(old)))
                for binding in bindings(self.function):
                    if binding.var in groups:
                        self._lower(groups[binding.var])
                    elif binding.var not in inside:
                        self._keep(binding)
                results = [self._as_external(variable) for variable in self._outputs]
                single = not isinstance(self.function.ret_ty, tvm.ir.TupleType)
                output = self.builder.emit_output(results[0] if single else relax.Tuple(results))
            self.builder.emit_func_output(output)
        return self.builder.get()

    def _define(self, old: Any, new: Any, storage: Storage) -> None:
        self._stored[old] = new
        self._storage[old] = storage

    def _used_only_as_output(self, variable: Any) -> bool:
        if not any(variable.same_as(output) for output in self._outputs):
            return False
        users = [
            binding
            for binding in bindings(self.function)
            if isinstance(binding.value, relax.Call) and any(variable.same_as(a) for a in binding.value.args)
        ]
        return not users

    def _lower(self, group: Group) -> None:
        """Emit the call of a group's kernel."""
        inputs = group.inputs
        unsigned = needs_unsigned(str(group.steps[0][1].op.name))
        for variable in inputs:
            if unsigned and self._storage[variable].dtype == "int8":
                self._as_internal(variable)
        last = group.output
        output = (external if self._used_only_as_output(last) else internal)(dtype_of(last))
        storage = {variable: self._storage[variable] for variable in inputs}
        kernel = build_kernel(KernelGroup(group.steps, inputs), storage, output, self.isa)
        lowered = self._global(kernel, tuple(storage.values()), output)
        lowered.groups.append(group)
        arguments = [self._stored[variable] for variable in inputs]
        self._define(last, self._call(lowered, kernel, arguments, shape_of(last), output), output)

    def _global(self, kernel: Kernel, storages: tuple[Storage, ...], output: Storage) -> LoweredKernel:
        key = workload_key(kernel.func)
        if key not in self.kernels:
            func = kernel.func.without_attr("global_symbol").with_attr("op_pattern", _FUSION_OPAQUE)
            name = self.builder.add_func(func, kernel.name).name_hint
            self.kernels[key] = LoweredKernel(name, kernel, key, [], storages, output)
        return self.kernels[key]

    def _call(
        self,
        lowered: LoweredKernel,
        kernel: Kernel,
        arguments: list[Any],
        shape: tuple[int, ...],
        output: Storage,
    ) -> Any:
        variable = next(gv for gv in self.builder.get().get_global_vars() if gv.name_hint == lowered.function)
        constants = [constant(array) for array in kernel.constants]
        type_ = relax.TensorType(shape, output.dtype)
        return self.builder.emit(relax.call_tir(variable, [*arguments, *constants], type_))

    def _moved(self, value: Any, storage: Storage) -> Any:
        """int8 to uint8 moved by 128, or back: flip the highest bit of each byte."""
        source = "int8" if storage.dtype == "uint8" else "uint8"
        flip = 128 if storage.dtype == "uint8" else -128

        def flipped(data: Any) -> Any:
            def element(*index: Any) -> Any:
                wide = data[index].astype("int32") + tvm.tirx.const(flip, "int32")
                return wide.astype(storage.dtype)

            return tvm.te.compute(data.shape, element, name="output")

        del source
        return self.builder.emit(self.builder.call_te(flipped, value, primfunc_name_hint="flip_sign"))

    def _as_internal(self, variable: Any) -> None:
        """Make a tensor that is stored as int8 available as uint8 from here on."""
        if self._storage[variable].dtype == "int8":
            storage = internal("int8")
            self._define(variable, self._moved(self._stored[variable], storage), storage)

    def _as_external(self, variable: Any) -> Any:
        """The stored tensor as the model declares its dtype."""
        if is_constant(variable):
            return variable
        if self._storage[variable].offset == 0:
            return self._stored[variable]
        if variable not in self._logical:
            self._logical[variable] = self._moved(self._stored[variable], external("int8"))
        return self._logical[variable]

    def _keep(self, binding: Any) -> None:
        """Emit a plain Relax expression on stored tensors, or on logical ones where it looks at values."""
        value = binding.value
        if isinstance(value, relax.Tuple):
            self._stored[binding.var] = relax.Tuple([self._argument(f, False)[0] for f in value.fields])
            self._storage[binding.var] = self._tuple_storage(value)
            return
        if isinstance(value, relax.TupleGetItem):
            source = value.tuple_value
            if isinstance(self._stored[source], relax.Tuple):
                item = self._stored[source].fields[value.index]
            else:
                item = self.builder.emit(relax.TupleGetItem(self._stored[source], value.index))
            self._define(binding.var, item, self._storage[source])
            return
        if isinstance(value, relax.Var):
            self._define(binding.var, self._stored[value], self._storage[value])
            return
        name = operator_name(value)
        if not name or name.startswith("qnn."):
            raise BuildError(f"{name or value}: no kernel for this operator")
        stored = works_on_stored(name)
        arguments, offsets = zip(
            *(self._argument(argument, not stored) for argument in value.args), strict=True
        )
        offset = max(offsets)
        result = self.builder.emit(on_stored(value, list(arguments), offset))
        if isinstance(value.ty, tvm.ir.TupleType) or dtype_of(value) == "int8":
            kept = Storage("uint8", 128) if offset else Storage("int8")
        else:
            kept = Storage(dtype_of(value))
        self._define(binding.var, result, kept)

    def _tuple_storage(self, value: Any) -> Storage:
        return next((self._storage[f] for f in value.fields if isinstance(f, relax.Var)), Storage(""))

    def _argument(self, argument: Any, logical: bool) -> tuple[Any, int]:
        """An argument as stored (int8 always as uint8) or as the model declares it, and its offset."""
        if isinstance(argument, relax.Tuple):
            parts = [self._argument(field_, logical) for field_ in argument.fields]
            return relax.Tuple([part for part, _ in parts]), max((offset for _, offset in parts), default=0)
        if is_constant(argument) and dtype_of(argument) == "int8" and not logical:
            moved = (np.asarray(constant_value(argument)).astype(np.int16) + 128).astype(np.uint8)
            return constant(moved), 128
        if not isinstance(argument, relax.Var):
            return argument, 0
        if isinstance(self._stored[argument], relax.Tuple) or isinstance(argument.ty, tvm.ir.TupleType):
            return self._stored[argument], self._storage[argument].offset
        if logical:
            return self._as_external(argument), 0
        self._as_internal(argument)
        return self._stored[argument], self._storage[argument].offset

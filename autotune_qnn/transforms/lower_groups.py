"""Replaces each group of QNN operators by a call of its kernel; keeps plain Relax operators, on stored tensors."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import tvm
from tvm import relax

from autotune_qnn.dialect.constants import constant, is_constant
from autotune_qnn.errors import BuildError
from autotune_qnn.kernels.anchors import needs_unsigned
from autotune_qnn.kernels.anchors.overlap import store_within
from autotune_qnn.kernels.isa import DotShape
from autotune_qnn.kernels.kernel import Kernel, KernelGroup, build_kernel
from autotune_qnn.kernels.storage import Storage, external, internal
from autotune_qnn.transforms.concatenations import Place, places
from autotune_qnn.transforms.grouping import (
    Group,
    bindings,
    dtype_of,
    find_groups,
    operator_name,
    shape_of,
    variables,
)
from autotune_qnn.transforms.plain_operators import on_stored, works_on_stored
from autotune_qnn.transforms.stored_values import Stored, StoredValue, flattened

IN_PLACE = "relax.call_tir_inplace"
"""The operator that calls a kernel which stores its result in its last argument."""

KERNEL_CALLS = frozenset({"relax.call_tir", IN_PLACE})
"""Operators with which "main" of a lowered module calls kernels."""

_FUSION_OPAQUE = 8


@dataclass
class LoweredKernel:
    """A kernel of the lowered module: its global function, and the groups of operators that call it.

    The function stores the kernel's result as a tensor of its own, or in its place of a larger one.
    """

    function: str
    kernel: Kernel
    groups: list[Group] = field(default_factory=list)
    storages: tuple[Storage, ...] = ()
    output: Storage = field(default_factory=lambda: Storage("uint8"))


def bare_kernel(func: Any) -> Any:
    """A kernel's PrimFunc as it is without a module: what `workload_key` and schedules take."""
    return func.without_attr("op_pattern").with_attr("global_symbol", "main")


def workload_key(func: Any) -> str:
    """sha256 of an unscheduled PrimFunc's text: equal kernels have equal keys in every process."""
    return hashlib.sha256(func.script(show_meta=False).encode()).hexdigest()


@contextmanager
def _function(builder: Any, parameters: list[Any]) -> Iterator[None]:
    """The scope of "main"; an error inside closes what TVM would otherwise complain about on stderr."""
    try:
        with builder.function("main", parameters):
            yield
    except BaseException:
        builder._end_block()
        builder.end_scope()
        raise


class GroupLowering:
    """Lowers the function "main" of a module in the QNN dialect."""

    def __init__(self, mod: Any, dot: DotShape) -> None:
        self.dot = dot
        self.function = mod["main"]
        self.builder = relax.BlockBuilder()
        self.kernels: dict[str, LoweredKernel] = {}
        self._values: dict[Any, Stored] = {}
        self._places: dict[Any, Place] = {}
        self._wholes: dict[Any, Any] = {}
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
        found = find_groups(self.function)
        self._places = places(self.function, found)
        groups = {group.output: group for group in found}
        inside = {variable for group in groups.values() for variable, _ in group.steps}
        parameters = [relax.Var(p.name, p.ty) for p in self.function.params]
        with _function(self.builder, parameters):
            with self.builder.dataflow():
                for old, new in zip(self.function.params, parameters, strict=True):
                    self._values[old] = StoredValue.declared(new, dtype_of(old))
                for binding in bindings(self.function):
                    if binding.var in self._wholes:
                        self._values[binding.var] = self._wholes[binding.var]
                    elif binding.var in groups:
                        self._lower(groups[binding.var])
                    elif binding.var not in inside:
                        self._values[binding.var] = self._kept(binding.value)
                tensors = flattened(self._value(self.function.body.body))
                results = [tensor.as_declared(self.builder) for tensor in tensors]
                single = not isinstance(self.function.ret_ty, tvm.ir.TupleType)
                output = self.builder.emit_output(results[0] if single else relax.Tuple(results))
            self.builder.emit_func_output(output)
        return self.builder.get()

    def _used_only_as_output(self, variable: Any) -> bool:
        if not any(variable.same_as(output) for output in self._outputs):
            return False
        users = [binding for binding in bindings(self.function) if isinstance(binding.value, relax.Call)]
        return not any(variable.same_as(used) for user in users for used in variables(user.value))

    def _lower(self, group: Group) -> None:
        """Emit the call of a group's kernel."""
        tensors = [self._tensor(variable) for variable in group.inputs]
        if needs_unsigned(operator_name(group.steps[0][1])):
            for tensor in tensors:
                tensor.as_internal(self.builder)
        last = group.output
        place = self._places.get(last)
        output = self._storage(last if place is None else place.whole)
        storages = tuple(tensor.storage for tensor in tensors)
        storage = dict(zip(group.inputs, storages, strict=True))
        kernel = build_kernel(KernelGroup(group.steps, group.inputs), storage, output, self.dot)
        lowered = self._global(kernel, place, storages, output)
        lowered.groups.append(group)
        arguments = [*(tensor.expression for tensor in tensors), *map(constant, kernel.constants)]
        if place is None:
            type_ = relax.TensorType(shape_of(last), output.dtype)
            result = self.builder.emit(relax.call_tir(self._variable(lowered), arguments, type_))
            self._values[last] = StoredValue(result, output)
        else:
            self._wholes[place.whole] = self._stored(lowered, arguments, place, output)

    def _storage(self, variable: Any) -> Storage:
        """How a result is kept in memory."""
        return (external if self._used_only_as_output(variable) else internal)(dtype_of(variable))

    def _stored(
        self, lowered: LoweredKernel, arguments: list[Any], place: Place, output: Storage
    ) -> StoredValue:
        """The larger tensor after a kernel has stored its result in its place."""
        type_ = relax.TensorType(shape_of(place.whole), output.dtype)
        if place.whole in self._wholes:
            before = self._wholes[place.whole].expression
        else:
            before = self.builder.emit(relax.op.builtin.alloc_tensor(type_.shape, output.dtype, 0))
        call = relax.call_tir_inplace(self._variable(lowered), [*arguments, before], len(arguments), type_)
        return StoredValue(self.builder.emit(call), output)

    def _global(
        self, kernel: Kernel, place: Place | None, storages: tuple[Storage, ...], output: Storage
    ) -> LoweredKernel:
        func, name = kernel.func, kernel.name
        if place is not None:
            func = store_within(func, place.total, place.start)
            name += f"_{place.start}of{place.total}"
        key = workload_key(func)
        if key not in self.kernels:
            bare = func.without_attr("global_symbol").with_attr("op_pattern", _FUSION_OPAQUE)
            function = self.builder.add_func(bare, name).name_hint
            self.kernels[key] = LoweredKernel(function, kernel, [], storages, output)
        return self.kernels[key]

    def _variable(self, lowered: LoweredKernel) -> Any:
        """The global variable of a kernel."""
        variables_ = self.builder.get().get_global_vars()
        return next(variable for variable in variables_ if variable.name_hint == lowered.function)

    def _value(self, expression: Any) -> Stored:
        """The value of a variable, a tuple, a constant, or an expression that is no tensor."""
        if isinstance(expression, relax.Var):
            return self._values[expression]
        if isinstance(expression, relax.Tuple):
            return tuple(self._value(field_) for field_ in expression.fields)
        if is_constant(expression):
            return StoredValue.declared(expression, dtype_of(expression))
        return StoredValue(expression, Storage(""))

    def _tensor(self, variable: Any) -> StoredValue:
        value = self._values[variable]
        if not isinstance(value, StoredValue):
            raise BuildError(f"{variable.name}: a tuple where an operator takes a tensor")
        return value

    def _kept(self, value: Any) -> Stored:
        """A plain Relax expression on stored tensors, or on logical ones where it looks at values."""
        if isinstance(value, relax.TupleGetItem):
            fields = self._value(value.tuple_value)
            if isinstance(fields, StoredValue):
                raise BuildError(f"{value}: an element of what is no tuple")
            return fields[value.index]
        if not isinstance(value, relax.Call):
            return self._value(value)
        name = operator_name(value)
        if not name or name.startswith("qnn."):
            raise BuildError(f"{name or value}: no kernel for this operator")
        stored = works_on_stored(value)
        operands = [self._value(argument) for argument in value.args]
        arguments = [self._argument(operand, stored) for operand in operands]
        moved = [tensor.storage.offset for operand in operands for tensor in flattened(operand)]
        offset = max(moved, default=0) if stored else 0
        result = self.builder.emit(on_stored(value, arguments, offset))
        if not isinstance(value.ty, tvm.ir.TupleType):
            return StoredValue(result, _kept_storage(dtype_of(value), offset))
        return tuple(
            StoredValue(
                self.builder.emit(relax.TupleGetItem(result, place)), _kept_storage(str(field_.dtype), offset)
            )
            for place, field_ in enumerate(value.ty.fields)
        )

    def _argument(self, value: Stored, stored: bool) -> Any:
        """A value as an argument: as stored, int8 always as uint8, or as the model declares it."""
        if isinstance(value, StoredValue):
            return value.as_internal(self.builder) if stored else value.as_declared(self.builder)
        return relax.Tuple([self._argument(field_, stored) for field_ in value])


def _kept_storage(dtype: str, offset: int) -> Storage:
    """Storage of a plain operator's result, whose int8 arguments were moved by `offset`."""
    return Storage("uint8", offset) if dtype == "int8" and offset else Storage(dtype)

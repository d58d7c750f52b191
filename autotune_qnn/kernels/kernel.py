"""From a group of operators to one PrimFunc with its constant arguments and its schedule template."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import relax, te

from autotune_qnn.dialect.constants import constant_value
from autotune_qnn.errors import BuildError
from autotune_qnn.kernels.anchors import AnchorCall, anchor_rule, is_anchor, takes_bias
from autotune_qnn.kernels.anchors.interleaved import Interleaved, two_streams
from autotune_qnn.kernels.anchors.joined import Joined
from autotune_qnn.kernels.anchors.overlap import Blocks, Placement, store_overlapping
from autotune_qnn.kernels.channel_moves import RESHAPES
from autotune_qnn.kernels.elements import ElementCall, element_rule, is_channelwise
from autotune_qnn.kernels.inputs import KernelInputs
from autotune_qnn.kernels.isa import DotShape
from autotune_qnn.kernels.lane import Lane
from autotune_qnn.kernels.operand import LaneFunction, Operand
from autotune_qnn.kernels.starts import started
from autotune_qnn.kernels.storage import Storage
from autotune_qnn.kernels.templates.base import TemplateFactory
from autotune_qnn.kernels.templates.elementwise import ElementwiseTemplate


@dataclass(frozen=True)
class Kernel:
    """One kernel before scheduling.

    Attributes:
        kind, detail: what it computes ("conv2d", "1x56x56x64_64_k1x1s1") and the operators fused behind it.
        func: the PrimFunc; parameters are the group's inputs, the constants, and the output.
        constants: the arrays to pass for the parameters between inputs and output.
        macs: multiply-accumulate operations, 0 for elementwise kernels.
        template: the schedule template for a number of threads.
    """

    kind: str
    detail: str
    func: Any
    constants: tuple[NDArray[Any], ...]
    macs: int
    template: TemplateFactory

    @property
    def name(self) -> str:
        """A readable name that is also an identifier."""
        return f"{self.kind}_{self.detail}"


@dataclass(frozen=True)
class KernelGroup:
    """What `build_kernel` needs of a group of operators: its calls and external inputs."""

    steps: tuple[tuple[Any, Any], ...]
    inputs: tuple[Any, ...]


def _shape(expression: Any) -> tuple[int, ...]:
    return tuple(int(extent) for extent in expression.ty.shape)


def _dtype(expression: Any) -> str:
    return str(expression.ty.dtype)


def _extents(tensor: Any) -> tuple[int, ...]:
    return tuple(int(extent) for extent in tensor.shape)


class _Builder:
    """Builds the lanes of a group's operators one after the other."""

    def __init__(
        self, group: KernelGroup, storage: Mapping[Any, Storage], output: Storage, dot: DotShape
    ) -> None:
        self.inputs = KernelInputs()
        self.dot = dot
        self.output = output
        self.channelwise = len(group.inputs) == 1 and all(is_channelwise(call) for _, call in group.steps[1:])
        self.store: Callable[[Operand], Any] | None = None
        self.blocks: Blocks | None = None
        self.placement: Placement | None = None
        self.stored: Callable[[Any], Any] | None = None
        self.known: dict[Any, Operand] = {}
        self.kind, self.macs = "elementwise", 0
        self.detail: list[str] = []
        self.template: TemplateFactory | None = None
        for variable in group.inputs:
            self.known[variable] = self._external(variable, storage[variable])

    def _external(self, variable: Any, stored: Storage) -> Operand:
        shape, dtype = _shape(variable), _dtype(variable)
        tensor = self.inputs.activation(shape, stored.dtype)

        def lane(index: Sequence[Any]) -> Lane:
            value = tensor(*index)
            if dtype in ("int8", "uint8"):
                return Lane.of(value.astype("int32"), dtype, stored.offset)
            return Lane(value, clamped=True)

        return Operand(shape, dtype, lane, tensor=tensor, offset=stored.offset)

    def _operand(self, expression: Any) -> Any:
        array = constant_value(expression)
        if array is not None:
            return self._constant(array)
        if isinstance(expression, relax.Tuple):
            return tuple(self._operand(field) for field in expression.fields)
        if isinstance(expression, relax.Var):
            return self.known[expression]
        return Operand((), "")

    def _constant(self, array: NDArray[Any]) -> Operand:
        """A constant, which becomes a parameter of the kernel where a rule asks for its lanes."""
        dtype = str(array.dtype)
        placed: list[Any] = []

        def lane(index: Sequence[Any]) -> Lane:
            if not placed:
                placed.append(self.inputs.constant(array.reshape(array.shape or (1,)), "values"))
            value = placed[0](*(index or [0]))
            if dtype in ("int8", "uint8"):
                return Lane.of(value.astype("int32"), dtype)
            return Lane(value, clamped=True)

        return Operand(array.shape, dtype, lane, constant=array)

    def anchor(self, call: Any, bias: NDArray[np.integer[Any]] | None) -> LaneFunction:
        """The lanes of the operator that the kernel is built around."""
        name = str(call.op.name)
        operands = tuple(self._operand(argument) for argument in call.args)
        result = anchor_rule(name)(
            AnchorCall(
                name,
                call,
                operands,
                _shape(call),
                _dtype(call),
                bias,
                self.inputs,
                self.dot,
                self.output,
                self.channelwise,
            )
        )
        self.kind, self.macs, self.template = result.kind, result.macs, result.template
        self.store, self.blocks, self.placement = result.store, result.blocks, result.placement
        self.stored = result.stored
        self.detail = [result.detail]
        return result.lanes

    def moved(self, calls: Sequence[Any]) -> LaneFunction:
        """The lanes of a concatenation, anchor of this kernel, whose channels the other calls move."""
        streams = two_streams(calls)
        if streams is None or not isinstance(self.placement, Joined):
            raise BuildError(f"{calls[0].op.name}: no kernel that moves its channels so")
        interleaved = Interleaved.of(_shape(calls[-1]), self.placement, streams)
        self.placement, self.template = interleaved, interleaved.template(self.output.dtype)
        self.detail.append("turns_" + "_".join(f"{part}at{first}" for part, first in streams))
        return interleaved.at

    def element(self, call: Any) -> LaneFunction:
        """The lanes of an elementwise operator."""
        name = str(call.op.name)
        operands = tuple(self._operand(argument) for argument in call.args)
        self.detail.append(name.rsplit(".", 1)[-1])
        return element_rule(name)(ElementCall(name, call, operands, _shape(call), _dtype(call), self.inputs))

    def define(self, variable: Any, lanes: LaneFunction) -> None:
        """Make a result available to later operators."""
        self.known[variable] = Operand(_shape(variable), _dtype(variable), lanes)


def _bias_after(steps: Sequence[tuple[Any, Any]]) -> NDArray[np.integer[Any]] | None:
    """The bias that the second operator adds to the first one's result, where it does just that."""
    if len(steps) < 2 or str(steps[1][1].op.name) != "relax.add":
        return None
    call = steps[1][1]
    array: NDArray[np.integer[Any]] = np.asarray(constant_value(call.args[1])).reshape(-1)
    return np.broadcast_to(array, (_shape(call)[-1],))


def _define_all(builder: _Builder, operators: Sequence[tuple[Any, Any]]) -> None:
    """Make the lanes of all operators of a group."""
    steps = list(operators)
    if is_anchor(str(steps[0][1].op.name)):
        variable, call = steps.pop(0)
        bias = _bias_after(operators) if takes_bias(str(call.op.name)) else None
        lanes = builder.anchor(call, bias)
        if bias is not None:
            variable = steps.pop(0)[0]
        if steps and str(steps[0][1].op.name) in RESHAPES:
            variable, lanes = steps[-1][0], builder.moved([call, *(moving for _, moving in steps)])
            steps = []
        builder.define(variable, lanes)
    for variable, call in steps:
        builder.define(variable, builder.element(call))


def _outputs(
    builder: _Builder, finished: Operand, shape: tuple[int, ...], element: Callable[..., Any]
) -> list[Any]:
    """The kernel's result, in groups or blocks of channels or in parts where the anchor computes those."""
    blocks = builder.blocks
    if builder.placement is not None:
        return builder.placement.results(element)
    if builder.store is not None:
        return [builder.store(finished)]
    if blocks is None:
        return [te.compute(shape, element, name="output")]

    def in_block(*index: Any) -> Any:
        return element(*index[:-2], blocks.channel(*index[-2:]))

    return [te.compute((*shape[:-1], blocks.count, blocks.size), in_block, name="output")]


def _stored(builder: _Builder, func: Any, shape: tuple[int, ...]) -> Any:
    """The PrimFunc of `_outputs` whose output has the shape of the group's."""
    if builder.placement is not None:
        return builder.placement.stored(func)
    if builder.stored is not None:
        return builder.stored(func)
    return func if _extents(func.params[-1]) == shape else store_overlapping(func, shape[-1])


def build_kernel(
    group: KernelGroup, storage: Mapping[Any, Storage], output: Storage, dot: DotShape
) -> Kernel:
    """Build the PrimFunc of a group.

    `storage` says how each input is kept in memory and `output` how the result is to be.
    """
    builder = _Builder(group, storage, output, dot)
    _define_all(builder, group.steps)
    last = group.steps[-1][0]
    shape = _shape(last)
    finished = builder.known[last]

    def element(*index: Any) -> Any:
        lane = finished.at(index)
        if output.dtype.startswith("float"):
            return lane.value.astype(output.dtype)
        if output.dtype in ("int8", "uint8"):
            return lane.stored_byte(builder.inputs, output.dtype, output.offset)
        return lane.stored(builder.inputs, output.offset).astype(output.dtype)

    results = _outputs(builder, finished, shape, element)
    placeholders, constants = builder.inputs.signature()
    func = te.create_prim_func([*placeholders, *results]).with_attr("global_symbol", "main")
    func = _stored(builder, started(func, builder.inputs.starts), shape)
    broadcast = any(_extents(tensor) != shape for tensor in builder.inputs.activations)
    template = builder.template or ElementwiseTemplate.factory(shape, broadcast)
    detail = "_".join(builder.detail)
    if builder.kind == "elementwise":
        detail = "x".join(map(str, shape)) + "_" + detail
    return Kernel(builder.kind, detail, func, tuple(constants), builder.macs, template)

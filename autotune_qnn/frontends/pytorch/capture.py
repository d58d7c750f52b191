"""One run of a network, operator by operator: the graph that the importer works on.

Every operator that depends on the network's input is caught on its way through PyTorch's dispatcher, whatever the
network is: traced, scripted, an FX module or plain Python. Functions of the library arrive as the few operators that
they consist of, sizes as numbers, branches on sizes as the branch that was taken. A network that looks at the values
of its input to decide what to do cannot be one fixed graph, and is refused.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from autotune_qnn.errors import ModelError
from autotune_qnn.frontends.base import Array
from autotune_qnn.frontends.pytorch.graph import (
    Argument,
    ConstantTensor,
    CpuTraits,
    Graph,
    Node,
    PackedWeights,
    TensorMeta,
    ValueRef,
)
from autotune_qnn.frontends.pytorch.probe import SECOND, dense_stage
from autotune_qnn.frontends.pytorch.torch_runtime import first_line, one_thread, quietly
from autotune_qnn.host import host_flags
from autotune_qnn.quantization import Arithmetic

Module = Any
"""A torch.nn.Module or a ScriptModule."""
Observer = Callable[[int, Any], None]
"""Is told the number of every tensor that the run makes, and the tensor."""

_STORED = {torch.quint8: "uint8", torch.qint8: "int8", torch.qint32: "int32"}
_PARAMETERS = frozenset({"aten::q_scale", "aten::q_zero_point"})
_RUN_ERRORS = (
    RuntimeError,
    ValueError,
    TypeError,
    IndexError,
    NotImplementedError,
    AssertionError,
    torch.jit.Error,
)


class InputRefusedError(ModelError):
    """The network does not run on such inputs."""


class _DataDependentError(Exception):
    """The network reads values of a tensor that depends on its input."""


class _OperatorError(Exception):
    """An operator that PyTorch refuses; the message names it and the shapes of its operands."""


def dtype_name(dtype: Any) -> str:
    """The dtype of the numbers that a tensor of a PyTorch dtype stores, as NumPy names it."""
    return _STORED.get(dtype, str(dtype).removeprefix("torch."))


def describe(tensor: Any) -> TensorMeta:
    """Everything about a tensor but its elements. ModelError for tensors quantized per channel."""
    scale = zero_point = None
    if tensor.is_quantized:
        if tensor.qscheme() not in (torch.per_tensor_affine, torch.per_tensor_symmetric):
            raise ModelError("activations quantized per channel are not supported")
        scale, zero_point = float(tensor.q_scale()), int(tensor.q_zero_point())
    strides = tuple(int(step) for step in tensor.stride())
    return TensorMeta(
        tuple(int(e) for e in tensor.shape), strides, dtype_name(tensor.dtype), scale, zero_point
    )


def numbers(tensor: Any) -> Array:
    """A tensor's elements in the order of its shape, stored integers where it is quantized."""
    plain = tensor.int_repr() if tensor.is_quantized else tensor
    return np.array(plain.detach().contiguous().numpy())


def unpack(packed: Any) -> PackedWeights | None:
    """The stored integers of packed parameters; None for objects that are not a convolution's or linear layer's."""
    kind = str(packed._type().qualified_name()).rsplit(".", 1)[-1]
    ops = torch.ops.quantized
    if kind == "LinearPackedParamsBase":
        weight, bias = ops.linear_unpack(packed)
        return PackedWeights(*_weights(weight, bias))
    if kind != "Conv2dPackedParamsBase":
        return None
    transposed = bool(ops.conv2d_transpose(packed))
    weight, bias = (ops.conv_transpose2d_unpack if transposed else ops.conv2d_unpack)(packed)
    names = ("stride", "padding", "output_padding", "dilation")
    stride, padding, extra, dilation = (
        tuple(int(value) for value in getattr(ops, f"conv2d_{name}")(packed)) for name in names
    )
    groups = int(ops.conv2d_groups(packed))
    parameters = _weights(weight, bias)
    return PackedWeights(*parameters, stride, padding, extra, dilation, groups, transposed)


def _weights(weight: Any, bias: Any) -> tuple[Array, Array, Array, Array | None]:
    if weight.qscheme() in (torch.per_tensor_affine, torch.per_tensor_symmetric):
        scale, zero_point = np.float64(weight.q_scale()), np.int64(weight.q_zero_point())
    else:
        scale = weight.q_per_channel_scales().numpy().astype(np.float64)
        zero_point = weight.q_per_channel_zero_points().numpy().astype(np.int64)
    return (
        numbers(weight),
        np.asarray(scale),
        np.asarray(zero_point),
        None if bias is None else numbers(bias).astype(np.float32),
    )


class Recorder(TorchDispatchMode):  # type: ignore[misc]  # PyTorch carries no types here
    """Notes every operator on a tensor that depends on the inputs. Tensors are kept, so that identities last."""

    def __init__(self, inputs: Sequence[Any], observer: Observer | None) -> None:
        super().__init__()
        self.metas: list[TensorMeta] = []
        self.nodes: list[Node] = []
        self.failure: Exception | None = None
        self._observer = observer
        self._kept: list[Any] = []
        self._numbers: dict[int, int] = {}
        self._overwritten: set[int] = set()
        self._packed: dict[int, PackedWeights | None] = {}
        self.inputs = tuple(self._keep(tensor) for tensor in inputs)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        keywords = kwargs or {}
        tensors = tensors_in([*args, *keywords.values()])
        if not any(id(tensor) in self._numbers for tensor in tensors):
            return func(*args, **keywords)
        try:
            return self._record(func, args, keywords)
        except (ModelError, _DataDependentError) as error:
            self.failure = error
            raise

    def number(self, tensor: Any) -> int | None:
        """The number of a tensor, None for one that does not depend on the inputs."""
        return self._numbers.get(id(tensor))

    def _record(self, func: Any, args: Sequence[Any], keywords: Mapping[str, Any]) -> Any:
        schema = func._schema
        arguments = self._arguments(schema, args, keywords)
        try:
            result = func(*args, **keywords)
        except _RUN_ERRORS as error:
            what = f"{schema.name} of {self._shapes(arguments)}"
            self.failure = _OperatorError(f"{what}: {first_line(error)}")
            raise
        made = tensors_in([result])
        if not made:
            if schema.name in _PARAMETERS:
                return result
            raise _DataDependentError(str(schema.name))
        if any(argument.alias_info and argument.alias_info.is_write for argument in schema.arguments):
            self._overwrite(made)
        outputs = tuple(self._keep(tensor) for tensor in made)
        self.nodes.append(Node(len(self.nodes), str(schema.name), arguments, outputs))
        if self._observer is not None:
            for index, tensor in zip(outputs, made, strict=True):
                self._observer(index, tensor)
        return result

    def _arguments(
        self, schema: Any, args: Sequence[Any], keywords: Mapping[str, Any]
    ) -> dict[str, Argument]:
        found: dict[str, Argument] = {}
        for place, declared in enumerate(schema.arguments):
            if place < len(args):
                value = args[place]
            elif declared.name in keywords:
                value = keywords[declared.name]
            else:
                value = declared.default_value if declared.has_default_value() else None
            found[declared.name] = self._argument(value)
        return found

    def _argument(self, value: Any) -> Argument:
        if isinstance(value, torch.Tensor):
            index = self._numbers.get(id(value))
            if index is None:
                return ConstantTensor(describe(value), numbers(value))
            if index in self._overwritten:
                raise ModelError("a tensor is used after another that shares its memory was overwritten")
            return ValueRef(index)
        if isinstance(value, torch.ScriptObject):
            if id(value) not in self._packed:
                self._packed[id(value)] = unpack(value)
                self._kept.append(value)
            return self._packed[id(value)]
        if isinstance(value, (list, tuple)):
            return tuple(self._argument(item) for item in value)
        return dtype_name(value) if isinstance(value, torch.dtype) else value

    def _shapes(self, arguments: Mapping[str, Argument]) -> str:
        """The shapes of an operator's tensors and packed weights."""
        shapes = []
        for value in arguments.values():
            if isinstance(value, ValueRef):
                shapes.append(self.metas[value.index].shape)
            elif isinstance(value, PackedWeights):
                shapes.append(value.weight.shape)
        return " and ".join(str(list(shape)) for shape in shapes)

    def _overwrite(self, made: Sequence[Any]) -> None:
        """Tensors that share memory with what is overwritten hold something else from now on."""
        memory = {_memory(tensor) for tensor in made}
        for tensor in self._kept:
            if isinstance(tensor, torch.Tensor) and _memory(tensor) in memory:
                self._overwritten.add(self._numbers[id(tensor)])

    def _keep(self, tensor: Any) -> int:
        index = len(self.metas)
        self.metas.append(describe(tensor))
        self._numbers[id(tensor)] = index
        self._kept.append(tensor)
        return index


def _memory(tensor: Any) -> int:
    return int(tensor.untyped_storage().data_ptr())


def tensors_in(values: Sequence[Any]) -> list[Any]:
    """The tensors among some values, in order, those in lists and dictionaries too."""
    found: list[Any] = []
    for value in values:
        if isinstance(value, torch.Tensor):
            found.append(value)
        elif isinstance(value, Mapping):
            found.extend(tensors_in(list(value.values())))
        elif isinstance(value, (list, tuple)):
            found.extend(tensors_in(value))
    return found


def capture(
    module: Module,
    inputs: Sequence[Array],
    engine: Arithmetic,
    *,
    name: str = "network",
    observer: Observer | None = None,
    recorder_type: type[Recorder] = Recorder,
) -> Graph:
    """Runs the network once on `inputs`, under the engine that is set, and returns what it dispatched.

    InputRefusedError where it fails on these inputs, ModelError where what it does depends on their values, or where
    it returns something other than tensors.
    """
    tensors = [torch.from_numpy(np.ascontiguousarray(array)) for array in inputs]
    recorder = recorder_type(tensors, observer)
    with quietly(), one_thread(), torch.no_grad():
        try:
            with recorder:
                result = module(*tensors)
        except (*_RUN_ERRORS, ModelError, _DataDependentError) as error:
            raise _refusal(recorder.failure or error, inputs) from error
    return Graph(
        name,
        engine,
        _cpu_traits(engine),
        tuple(recorder.metas),
        tuple(recorder.nodes),
        recorder.inputs,
        input_names(module, len(tensors)),
        _outputs(recorder, result),
    )


def _cpu_traits(engine: Arithmetic) -> CpuTraits:
    """What PyTorch's kernels depend on in this machine."""
    capability = str(torch.backends.cpu.get_cpu_capability())
    stage = dense_stage() if engine in (Arithmetic.X86, Arithmetic.ONEDNN) else SECOND
    return CpuTraits(capability.startswith("AVX512"), "avx512_vnni" in host_flags(), stage)


def _refusal(error: Exception, inputs: Sequence[Array]) -> ModelError:
    if isinstance(error, ModelError):
        return error
    if isinstance(error, _DataDependentError):
        return ModelError(
            f"the network's control flow depends on the values of its input ({error}): "
            "it is no fixed graph and cannot be imported"
        )
    shapes = ", ".join(f"{array.dtype} {list(array.shape)}" for array in inputs)
    return InputRefusedError(f"the network does not run on an input of {shapes}: {first_line(error)}")


def _outputs(recorder: Recorder, result: Any) -> tuple[int, ...]:
    tensors = tensors_in([result])
    if not tensors:
        raise ModelError("the network returns no tensor")
    found = [recorder.number(tensor) for tensor in tensors]
    if any(index is None for index in found):
        raise ModelError("an output of the network does not depend on its input")
    return tuple(index for index in found if index is not None)


def input_names(module: Module, count: int) -> tuple[str, ...]:
    """The names of the first `count` parameters of the network's forward."""
    if isinstance(module, torch.jit.ScriptModule):
        found = [argument.name for argument in module.forward.schema.arguments[1:]]
    else:
        found = list(inspect.signature(module.forward).parameters)
    return tuple(found[place] if place < len(found) else f"input_{place}" for place in range(count))


def required_inputs(module: Module) -> int:
    """How many inputs the network cannot do without."""
    if isinstance(module, torch.jit.ScriptModule):
        arguments = module.forward.schema.arguments[1:]
        return sum(not argument.has_default_value() for argument in arguments)
    parameters = inspect.signature(module.forward).parameters.values()
    plain = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in plain and p.default is inspect.Parameter.empty for p in parameters)

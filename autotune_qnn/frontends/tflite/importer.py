"""From a checked TFLite graph to a Relax module in the QNN dialect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tvm import relax

from autotune_qnn.errors import ModelError, UnsupportedOperatorError, UsageError, last_line
from autotune_qnn.frontends.base import ImportOptions
from autotune_qnn.frontends.rules import (
    RELAX_ERRORS,
    Expr,
    UnsupportedUseError,
    emit_main,
    parameter_names,
    shape_of,
)
from autotune_qnn.frontends.tflite import (
    activations,
    convolution,
    elementwise,
    float_ops,
    pooling,
    shape,
    slicing,
)
from autotune_qnn.frontends.tflite.conversion import RULES, Conversion
from autotune_qnn.frontends.tflite.graph import ABSENT, QUANTIZED_DTYPES, Graph, GraphOperator, GraphTensor
from autotune_qnn.quantization import Arithmetic

RULE_MODULES = (activations, convolution, elementwise, float_ops, pooling, shape, slicing)
"""The modules whose import registers the rules."""
MAX_BATCH = 4096
INTERPRETERS = (Arithmetic.XNNPACK, Arithmetic.REFERENCE, Arithmetic.BUILTIN)
_FOLLOWS = "operands that an unsupported operator makes"


@dataclass
class _Problems:
    """Unsupported operators by name and reason, with the names of the tensors they make."""

    found: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    def add(self, operator: GraphOperator, reason: str, graph: Graph) -> None:
        """Notes one operator."""
        names = self.found.setdefault((operator.name, reason), [])
        names.append(", ".join(graph.tensors[index].name for index in operator.outputs))

    def check(self, graph: Graph) -> None:
        """Raises one error that lists everything noted."""
        if not self.found:
            return
        parts = []
        for (name, reason), tensors in sorted(self.found.items()):
            because = f" with {reason}" if reason else ""
            parts.append(f"{name}{because} ×{len(tensors)} (tensors: {'; '.join(tensors)})")
        count = sum(len(tensors) for tensors in self.found.values())
        raise UnsupportedOperatorError(
            f"{graph.name} has {count} operators that the importer does not support: " + " | ".join(parts)
        )


def chosen_arithmetic(options: ImportOptions) -> Arithmetic:
    """Which of TFLite's interpreters the options choose; XNNPACK, as TFLite itself, where they do not say."""
    chosen = options.arithmetic or Arithmetic.XNNPACK
    if chosen not in INTERPRETERS:
        names = ", ".join(arithmetic.value for arithmetic in INTERPRETERS)
        raise UsageError(f"TFLite has no arithmetic {chosen.value}; choose one of {names}")
    return chosen


def effective_batch(graph: Graph, wanted: int) -> int:
    """The factor of the leading dimension: 1 where the model keeps its own fixed batch.

    ModelError where dimensions other than the batch are open, or a fixed batch above 1 contradicts `wanted`.
    """
    if not 1 <= wanted <= MAX_BATCH:
        raise ModelError(f"batch {wanted} is not between 1 and {MAX_BATCH}")
    for index in graph.inputs:
        tensor = graph.tensors[index]
        if any(extent == -1 for extent in tensor.signature[1:]):
            raise ModelError(
                f"input {tensor.name} has the open shape {tensor.signature}: only the batch may be open"
            )
        if any(extent < 1 for extent in tensor.shape[1:]):
            raise ModelError(f"input {tensor.name} has the empty shape {tensor.shape}")
        fixed = not tensor.shape or (tensor.shape[0] != 1 and tensor.signature[0] != -1)
        if fixed and wanted != 1 and tensor.shape[:1] != (wanted,):
            raise ModelError(
                f"input {tensor.name} has the fixed shape {tensor.shape}: --batch {wanted} cannot apply"
            )
        if fixed:
            return 1
        if tensor.shape[0] != 1:
            raise ModelError(
                f"input {tensor.name} has shape {tensor.shape} with an open batch, expected 1 in its place"
            )
    return wanted


def check_quantized(graph: Graph) -> None:
    """ModelError for models that are float, or quantized in their weights only."""
    activations_of = [
        tensor for tensor in graph.tensors if tensor.data is None and tensor.quantization is not None
    ]
    if any(tensor.dtype in (*QUANTIZED_DTYPES, "int16") for tensor in activations_of):
        return
    if any(tensor.dtype in QUANTIZED_DTYPES and tensor.quantization is not None for tensor in graph.tensors):
        raise ModelError(
            f"{graph.name} is quantized in its weights only (dynamic range); "
            "convert it with full integer quantization"
        )
    raise ModelError(
        f"{graph.name} is a float model: it has no quantized tensors; "
        "convert it with full integer quantization"
    )


def import_graph(graph: Graph, options: ImportOptions, outputs: Sequence[int] | None = None) -> Any:
    """The IRModule of `graph`. `outputs` replaces the graph's outputs by other tensor indices (for comparing
    layers).

    UnsupportedOperatorError lists every operator without a rule; ModelError says what is damaged.
    """
    check_quantized(graph)
    batch = effective_batch(graph, options.batch)
    builder = relax.BlockBuilder()
    conversion = Conversion(graph, chosen_arithmetic(options), batch, builder)
    wanted = graph.outputs if outputs is None else outputs
    parameters = _parameters(conversion, graph, batch)
    return emit_main(builder, parameters, lambda: _convert_all(conversion, graph, wanted))


def _convert_all(conversion: Conversion, graph: Graph, outputs: Sequence[int]) -> list[Expr]:
    """Emits every operator and returns the values of the tensors `outputs`."""
    problems = _Problems()
    for operator in graph.operators:
        _convert(conversion, operator, problems)
    problems.check(graph)
    return [conversion.value(graph.tensors[index]) for index in outputs]


def _parameters(conversion: Conversion, graph: Graph, batch: int) -> list[Any]:
    """The function's parameters, bound to the graph's inputs."""
    parameters: list[Any] = []
    names = parameter_names(graph.tensors[index].name for index in graph.inputs)
    for index, name in zip(graph.inputs, names, strict=True):
        tensor = graph.tensors[index]
        shape_ = tuple(tensor.shape) if batch == 1 else (batch, *tensor.shape[1:])
        variable = relax.Var(name, relax.TensorType(shape_, tensor.dtype))
        conversion.bind(index, variable)
        parameters.append(variable)
    return parameters


def _convert(conversion: Conversion, operator: GraphOperator, problems: _Problems) -> None:
    """Emits one operator, or notes that it cannot be and puts placeholders in the place of its outputs."""
    if _fold(conversion, operator):
        return
    function = RULES.find(operator.name)
    reason = ""
    if function is not None:
        try:
            _bind(conversion, operator, function(conversion, operator))
            return
        except UnsupportedUseError as error:
            reason = str(error)
        except ModelError:
            if problems.found:
                reason = _FOLLOWS
            else:
                raise
        except RELAX_ERRORS as error:
            raise ModelError(
                f"operator {operator.index} ({operator.name}) of {conversion.graph.name}: {last_line(error)}"
            ) from error
    if reason != _FOLLOWS:
        problems.add(operator, reason, conversion.graph)
    for index in operator.outputs:
        tensor = conversion.graph.tensors[index]
        conversion.bind(
            index, relax.Var(f"unsupported_{index}", relax.TensorType(tensor.shape, _dtype(tensor)))
        )


def _dtype(tensor: GraphTensor) -> str:
    """A dtype that Relax knows, for a placeholder."""
    return "int8" if tensor.dtype.startswith("type") else tensor.dtype


def _bind(conversion: Conversion, operator: GraphOperator, results: list[Expr]) -> None:
    """Names the results and holds them against the shapes and dtypes that the file declares."""
    if len(results) != len(operator.outputs):
        raise ModelError(f"operator {operator.index} ({operator.name}) has {len(operator.outputs)} outputs")
    for index, result in zip(operator.outputs, results, strict=True):
        tensor = conversion.graph.tensors[index]
        value = result if isinstance(result, relax.Var) else conversion.emit(result, tensor.name)
        _check_type(conversion, operator, tensor, value)
        conversion.bind(index, value)


def _check_type(conversion: Conversion, operator: GraphOperator, tensor: GraphTensor, value: Expr) -> None:
    found = shape_of(value)
    dtype = str(value.ty.dtype)
    if dtype != tensor.dtype:
        raise ModelError(f"{operator.name} makes {dtype}, but {tensor.name} is declared as {tensor.dtype}")
    expected = tensor.shape
    if conversion.batch != 1:
        if not expected or expected[0] != 1:
            raise ModelError(
                f"--batch {conversion.batch} cannot apply: {operator.name} makes {tensor.name} of shape "
                f"{expected}, which has no batch dimension"
            )
        expected = (conversion.batch, *expected[1:])
    if found != expected:
        raise ModelError(f"{operator.name} makes shape {found}, but {tensor.name} is declared as {expected}")


def _fold(conversion: Conversion, operator: GraphOperator) -> bool:
    """Computes shape arithmetic (SHAPE, and STRIDED_SLICE and PACK of known integers) at import."""
    if operator.name not in ("SHAPE", "STRIDED_SLICE", "PACK") or len(operator.outputs) != 1:
        return False
    output = conversion.result(operator)
    if output.dtype not in ("int32", "int64") or ABSENT in operator.inputs or not operator.inputs:
        return False
    operands = [conversion.operand(operator, position) for position in range(len(operator.inputs))]
    if operator.name == "SHAPE":
        extents = shape_of(conversion.value(operands[0]))
        conversion.bind_constant(output.index, shape.fold_shape(extents, output.dtype))
        return True
    known = [conversion.constant(operand) for operand in operands]
    data = [value for value in known if value is not None]
    if len(data) != len(known):
        return False
    if operator.name == "PACK":
        if any(value.shape != data[0].shape for value in data):
            raise ModelError(f"operator {operator.index} (PACK) stacks different shapes")
        conversion.bind_constant(output.index, np.stack(data))
    else:
        conversion.bind_constant(output.index, slicing.fold_strided_slice(conversion, operator, data[0]))
    return True

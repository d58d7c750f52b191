"""From a captured PyTorch graph to a Relax module in the QNN dialect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm import relax

from autotune_qnn.errors import ModelError, UnsupportedOperatorError, last_line
from autotune_qnn.frontends.pytorch import (
    activations,
    borders,
    convolution,
    elementwise,
    float_ops,
    joining,
    pooling,
    shape,
)
from autotune_qnn.frontends.pytorch.conversion import Conversion, find_rule
from autotune_qnn.frontends.pytorch.graph import Graph, Node, PackedWeights, TensorMeta, ValueRef
from autotune_qnn.frontends.pytorch.layout import Expr, Value, in_order, stored_shape
from autotune_qnn.frontends.rules import (
    RELAX_ERRORS,
    UnsupportedUseError,
    emit_main,
    parameter_names,
    shape_of,
)

RULE_MODULES = (activations, borders, convolution, elementwise, float_ops, joining, pooling, shape)
"""The modules whose import registers the rules."""


def check_quantized(graph: Graph) -> None:
    """ModelError for networks that are float, or whose activations are quantized while they run."""
    if any(meta.quantized for meta in graph.metas):
        return
    if any(isinstance(value, PackedWeights) for node in graph.nodes for value in node.arguments.values()):
        raise ModelError(
            f"{graph.name} is quantized dynamically: its activations are float between its layers; "
            "quantize it statically (torch.ao.quantization.prepare and convert)"
        )
    raise ModelError(
        f"{graph.name} is a float network: it makes no quantized tensors; "
        "quantize it first (torch.ao.quantization.prepare and convert)"
    )


def import_graph(graph: Graph, outputs: Sequence[int] | None = None) -> Any:
    """The IRModule of `graph`. `outputs` replaces the network's outputs by other tensors (for comparing layers).

    Tensors come in and go out in PyTorch's order of dimensions. UnsupportedOperatorError lists every operator without
    a rule, with counts; ModelError says what cannot be.
    """
    check_quantized(graph)
    builder = relax.BlockBuilder()
    conversion = Conversion(graph, builder)
    wanted = graph.outputs if outputs is None else outputs
    return emit_main(builder, _parameters(conversion), lambda: _convert_all(conversion, wanted))


def _parameters(conversion: Conversion) -> list[Any]:
    graph = conversion.graph
    parameters: list[Any] = []
    for index, name in zip(graph.inputs, parameter_names(graph.input_names), strict=True):
        meta = graph.metas[index]
        variable = relax.Var(name, relax.TensorType(meta.shape, meta.dtype))
        conversion.bind(index, Value(variable, in_order(meta.rank)))
        parameters.append(variable)
    return parameters


def _convert_all(conversion: Conversion, outputs: Sequence[int]) -> list[Expr]:
    """Emits every operator and returns the values of the tensors `outputs` in PyTorch's order."""
    problems: dict[tuple[str, str], int] = {}
    for node in conversion.graph.nodes:
        reason = _convert(conversion, node)
        if reason is not None:
            key = (node.name, reason)
            problems[key] = problems.get(key, 0) + 1
    if problems:
        listed = [
            f"{name}{f' with {reason}' if reason else ''} ×{count}"
            for (name, reason), count in sorted(problems.items())
        ]
        raise UnsupportedOperatorError(
            f"{conversion.graph.name} has {sum(problems.values())} operators that the importer does not support: "
            + " | ".join(listed)
        )
    return [conversion.plain(ValueRef(index)) for index in outputs]


def _convert(conversion: Conversion, node: Node) -> str | None:
    """Emits one operator. Where it cannot be, placeholders take the place of its outputs, and the reason is returned:
    empty where there is no rule for it.
    """
    function = find_rule(node.name)
    reason = ""
    if function is not None:
        try:
            values = function(conversion, node)
            _bind(conversion, node, values)
            return None
        except UnsupportedUseError as error:
            reason = str(error)
        except RELAX_ERRORS as error:
            raise ModelError(
                f"operator {node.index} ({node.name}) of {conversion.graph.name}: {last_line(error)}"
            ) from error
    for index in node.outputs:
        meta = conversion.graph.metas[index]
        placeholder = relax.Var(f"unsupported_{index}", relax.TensorType(meta.shape, _relax_dtype(meta)))
        conversion.bind(index, Value(placeholder, in_order(meta.rank)))
    return reason


def _relax_dtype(meta: TensorMeta) -> str:
    return meta.dtype if meta.dtype.rstrip("0123456789") in ("float", "int", "uint", "bool") else "float32"


def _bind(conversion: Conversion, node: Node, values: list[Value]) -> None:
    """Names the results and holds them against the shapes and dtypes of PyTorch's run."""
    if len(values) != len(node.outputs):
        raise ModelError(f"operator {node.index} ({node.name}) makes {len(node.outputs)} tensors")
    for index, value in zip(node.outputs, values, strict=True):
        meta = conversion.graph.metas[index]
        expr = conversion.emit(value.expr, node.name.split("::")[-1])
        if meta.size:
            _check(node, meta, expr, value)
        conversion.bind(index, Value(expr, value.order))


def _check(node: Node, meta: TensorMeta, expr: Expr, value: Value) -> None:
    expected = stored_shape(meta.shape, value.order)
    if shape_of(expr) != expected or str(expr.ty.dtype) != meta.dtype:
        raise ModelError(
            f"operator {node.index} ({node.name}) makes {meta.dtype} {list(expected)} in PyTorch, "
            f"but {expr.ty.dtype} {list(shape_of(expr))} here"
        )

"""Between floats and quantized tensors: quantize_per_tensor, dequantize, int_repr."""

from __future__ import annotations

from autotune_qnn import dialect
from autotune_qnn.frontends.pytorch.conversion import Conversion, rule
from autotune_qnn.frontends.pytorch.graph import Node
from autotune_qnn.frontends.pytorch.layout import Value
from autotune_qnn.frontends.rules import UnsupportedUseError


@rule("aten::quantize_per_tensor")
def convert_quantize(conversion: Conversion, node: Node) -> list[Value]:
    """Stays in the order of its operand: the network's input is transposed behind it, when it has a quarter of the
    bytes.
    """
    result = conversion.result(node)
    value = conversion.value(node.get("self"))
    return [
        Value(
            dialect.quantize(
                value.expr, *conversion.parameters(result), out_dtype=result.dtype, engine="pytorch"
            ),
            value.order,
        )
    ]


@rule("aten::dequantize")
def convert_dequantize(conversion: Conversion, node: Node) -> list[Value]:
    """f4(q − z)·f4(s); a float operand stays as it is."""
    operand = node.get("self") if "self" in node.arguments else None
    if operand is None:
        raise UnsupportedUseError("a list of tensors")
    value, meta = conversion.value(operand), conversion.meta(operand)
    if not meta.quantized:
        return [value]
    return [Value(dialect.dequantize(value.expr, *conversion.parameters(meta)), value.order)]


@rule("aten::int_repr")
def convert_stored(conversion: Conversion, node: Node) -> list[Value]:
    """The stored integers themselves."""
    return [conversion.value(node.get("self"))]

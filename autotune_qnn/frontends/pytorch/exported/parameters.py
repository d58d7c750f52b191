"""What quantize and dequantize nodes of exported programs say, in whichever of their forms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from autotune_qnn.frontends.base import Array
from autotune_qnn.frontends.pytorch.graph import Argument, ConstantTensor, Node, TensorMeta
from autotune_qnn.quantization import dtype_range

QUANTIZE = "quantized_decomposed::quantize_per_tensor"
DEQUANTIZE = "quantized_decomposed::dequantize_per_tensor"
DEQUANTIZE_CHANNELS = "quantized_decomposed::dequantize_per_channel"
QUANTIZE_AFFINE = "torchao::quantize_affine"
DEQUANTIZE_AFFINE = "torchao::dequantize_affine"

STORED_DTYPES = ("uint8", "int8")


@dataclass(frozen=True, slots=True)
class Parameters:
    """Scale and zero point of a tensor, its stored dtype, and the integers that it is clipped to."""

    scale: float
    zero_point: int
    dtype: str
    low: int
    high: int

    def quantized(self, meta: TensorMeta) -> TensorMeta:
        """A tensor of the same shape and place in memory, quantized so."""
        return TensorMeta(meta.shape, meta.strides, self.dtype, self.scale, self.zero_point)


@dataclass(frozen=True, slots=True)
class QuantizedConstant:
    """A float constant that a program makes from stored integers: real = scale·(data − zero_point), where scale
    (float64) and zero_point (int64) are () or one for each index of `axis`.
    """

    meta: TensorMeta
    data: Array
    scale: Array
    zero_point: Array
    axis: int = 0


def per_tensor(node: Node) -> Parameters | None:
    """The parameters of a quantize or dequantize node that has one scale for the whole tensor, or None."""
    if node.name in (QUANTIZE, DEQUANTIZE):
        dtype = str(node.get("dtype"))
    elif node.name in (QUANTIZE_AFFINE, DEQUANTIZE_AFFINE):
        dtype = str(node.get("output_dtype" if node.name == QUANTIZE_AFFINE else "input_dtype"))
    else:
        return None
    scale, zero_point = single(node.get("scale")), single(node.get("zero_point"))
    if scale is None or zero_point is None or dtype not in STORED_DTYPES:
        return None
    low, high = (
        limit if (value := node.get(name)) is None else int(value)
        for name, limit in zip(("quant_min", "quant_max"), dtype_range(dtype), strict=True)
    )
    if not (np.isfinite(scale) and scale > 0 and low <= zero_point <= high):
        return None
    return Parameters(float(scale), int(zero_point), dtype, low, high)


def single(value: Argument) -> float | int | None:
    """A number, or the only element of a constant tensor."""
    if isinstance(value, ConstantTensor) and value.data.size == 1:
        element: float | int = value.data.reshape(-1)[0].item()
        return element
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None

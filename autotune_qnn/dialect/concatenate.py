"""qnn.concatenate: joining quantized tensors of different scales into one of a common scale."""

from __future__ import annotations

from typing import Any

import numpy as np

from autotune_qnn.dialect import pytorch
from autotune_qnn.dialect.attributes import Attributes
from autotune_qnn.dialect.engine import (
    Engine,
    checked_engine,
    engine_attributes,
    engine_of,
    formula_attributes,
    scale_dtypes,
)
from autotune_qnn.dialect.numeric import Array, f4, f8, integer, scalar
from autotune_qnn.dialect.registry import OperatorSpec, make_call, reference, register
from autotune_qnn.dialect.view import CallView, TensorView
from autotune_qnn.quantization import ComputeDtype, Rounding, saturate, to_integer

FORMULAS = ((ComputeDtype.FLOAT32, Rounding.AWAY),)
PYTORCH_FORMULAS = ((ComputeDtype.FLOAT32, Rounding.TONEAREST),)
CHANNEL_BLOCK = 8
"""Channels that one step of PyTorch's channels-last concatenation takes."""


def concatenate(
    data: Any,
    input_scales: Any,
    input_zero_points: Any,
    output_scale: Any,
    output_zero_point: Any,
    *,
    axis: int,
    rounding: str = "",
    compute_dtype: str = ComputeDtype.FLOAT32,
    engine: str = "",
    tail_block: int | None = None,
    memory_order: str = "NHWC",
) -> Any:
    """Join a relax.Tuple of tensors of one dtype along `axis`; input scales and zero points are tuples of
    scalars.

    An input whose scale and zero point are exactly the output's is copied; another becomes
    roundf(f4(q)·s + f4(−zero_point)·s) + zo with s = f4(scale)·(1/f4(output_scale)), saturated.

    engine "pytorch" (float64 scales): the dequantized input, quantized. With memory_order NHWC (PyTorch's path for
    channels-last tensors joined along their channels) each input's channels in whole blocks of `tail_block` are
    rint(fma(q, s, s·(−z))·f4(1/so)) + zo and the others rint(f4(f4(q − z)·s·(1/f4(so))) + zo); with NCHW (every
    other case) all are rint(fma(f4(q − z)·s, 1/f4(so), zo)).
    """
    operands = [data, input_scales, input_zero_points, output_scale, output_zero_point]
    attrs = {
        "axis": axis,
        **formula_attributes(engine, rounding, compute_dtype, plain=FORMULAS[0]),
        **engine_attributes(engine, memory_order, tail_block, CHANNEL_BLOCK),
    }
    return make_call("qnn.concatenate", operands, attrs)


def _infer_concatenate(view: CallView) -> TensorView:
    tensors = view.tensors("data")
    if not tensors:
        raise view.error("data", "must hold at least one tensor")
    first = tensors[0]
    if first.dtype not in ("int8", "uint8"):
        raise view.error("data[0]", f"must be int8 or uint8, not {first.dtype}")
    engine = checked_engine(view, Engine.PYTORCH)
    for name, dtype in (("input_scales", scale_dtypes(engine)[0]), ("input_zero_points", "int32")):
        parameters = view.tensors(name)
        if len(parameters) != len(tensors):
            raise view.error(name, f"must hold {len(tensors)} scalars, not {len(parameters)}")
        for index, parameter in enumerate(parameters):
            if parameter != TensorView((), dtype):
                raise view.error(f"{name}[{index}]", f"must be a {dtype} scalar, not {parameter}")
    axis = view.axis("axis", first.rank)
    for index, tensor in enumerate(tensors):
        others = [extent for place, extent in enumerate(tensor.shape) if place != axis]
        if tensor.rank != first.rank or others != [e for place, e in enumerate(first.shape) if place != axis]:
            raise view.error(f"data[{index}]", f"has shape {list(tensor.shape)}, data[0] {list(first.shape)}")
        if tensor.dtype != first.dtype:
            raise view.error(f"data[{index}]", f"must be {first.dtype} as data[0], not {tensor.dtype}")
    view.quantization("output_scale", "output_zero_point", first.dtype, scale_dtypes(engine))
    view.formula(*(FORMULAS if engine is Engine.NONE else PYTORCH_FORMULAS))
    if (
        engine is Engine.PYTORCH
        and view.attributes.string("memory_order") == "NHWC"
        and axis != first.rank - 1
    ):
        raise view.error(
            "attribute memory_order", f"must be NCHW along axis {axis}, which is not the channels'"
        )
    shape = list(first.shape)
    shape[axis] = sum(tensor.shape[axis] for tensor in tensors)
    return TensorView(tuple(shape), first.dtype)


register(
    OperatorSpec(
        "qnn.concatenate",
        ("data", "input_scales", "input_zero_points", "output_scale", "output_zero_point"),
        _infer_concatenate,
    )
)


@reference("qnn.concatenate")
def concatenate_reference(
    attrs: Attributes,
    data: tuple[Array, ...],
    input_scales: tuple[Array, ...],
    input_zero_points: tuple[Array, ...],
    output_scale: Array,
    output_zero_point: Array,
) -> Array:
    """Join as `concatenate` states."""
    engine = engine_of(attrs)
    kind = f4 if engine is Engine.NONE else f8
    so, zo = kind(scalar(output_scale)), integer(output_zero_point)
    parts = []
    for tensor, scale, zero_point in zip(data, input_scales, input_zero_points, strict=True):
        si, zi = kind(scalar(scale)), integer(zero_point)
        if si == so and zi == zo:
            parts.append(tensor)
        elif engine is Engine.NONE:
            parts.append(rescaled(tensor, si, zi, so, zo))
        else:
            parts.append(_rescaled_pytorch(attrs, tensor, si, zi, so, zo))
    return np.concatenate(parts, axis=attrs.integer("axis"))


def _rescaled_pytorch(attrs: Attributes, tensor: Array, si: Any, zi: int, so: Any, zo: int) -> Array:
    if attrs.string("memory_order") == "NCHW":
        return rescaled_fused(tensor, si, zi, so, zo)
    block = attrs.integer("tail_block")
    boundary = tensor.shape[-1] // block * block
    parts = (
        rescaled_body(tensor[..., :boundary], si, zi, so, zo),
        rescaled_tail(tensor[..., boundary:], si, zi, so, zo),
    )
    return np.concatenate(parts, axis=-1)


def rescaled_fused(tensor: Array, si: Any, zi: int, so: Any, zo: int) -> Array:
    """One input as PyTorch rescales it along other axes than channels."""
    real = pytorch.dequantize_scalar(tensor, si, zi)
    return pytorch.quantize_fused(real, pytorch.inverse(so), zo, str(tensor.dtype))


def rescaled_body(tensor: Array, si: Any, zi: int, so: Any, zo: int) -> Array:
    """One input's channels in whole blocks as PyTorch rescales them."""
    real = pytorch.dequantize_vector(tensor, si, zi)
    return pytorch.quantize_vector(real, pytorch.inverse_double(so), zo, str(tensor.dtype))


def rescaled_tail(tensor: Array, si: Any, zi: int, so: Any, zo: int) -> Array:
    """One input's channels behind the whole blocks as PyTorch rescales them."""
    return pytorch.quantize_scalar(pytorch.dequantize_scalar(tensor, si, zi), so, zo, str(tensor.dtype))


def rescaled(tensor: Array, si: Any, zi: int, so: Any, zo: int) -> Array:
    """One input of a concatenation in the output's scale, in the tensor's own dtype."""
    factor = f4(si) * (f4(1) / f4(so))
    values = tensor.astype(f4) * factor + f4(-zi) * factor
    return saturate(to_integer(values, Rounding.AWAY) + zo, str(tensor.dtype))

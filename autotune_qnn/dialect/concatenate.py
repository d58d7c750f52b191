"""qnn.concatenate: joining quantized tensors of different scales into one of a common scale."""

from __future__ import annotations

from typing import Any

import numpy as np

from autotune_qnn.dialect.attributes import Attributes
from autotune_qnn.dialect.numeric import Array, f4, integer, scalar
from autotune_qnn.dialect.registry import OperatorSpec, make_call, reference, register
from autotune_qnn.dialect.view import CallView, TensorView
from autotune_qnn.quantization import ComputeDtype, Rounding, saturate, to_integer

FORMULAS = ((ComputeDtype.FLOAT32, Rounding.AWAY),)


def concatenate(
    data: Any,
    input_scales: Any,
    input_zero_points: Any,
    output_scale: Any,
    output_zero_point: Any,
    *,
    axis: int,
    rounding: str = Rounding.AWAY,
    compute_dtype: str = ComputeDtype.FLOAT32,
) -> Any:
    """Join a relax.Tuple of tensors of one dtype along `axis`; input scales and zero points are tuples of
    scalars.

    An input whose scale and zero point are exactly the output's is copied; another becomes
    roundf(f4(q)·s + f4(−zero_point)·s) + zo with s = f4(scale)·(1/f4(output_scale)), saturated.
    """
    operands = [data, input_scales, input_zero_points, output_scale, output_zero_point]
    attrs = {"axis": axis, "rounding": rounding, "compute_dtype": compute_dtype}
    return make_call("qnn.concatenate", operands, attrs)


def _infer_concatenate(view: CallView) -> TensorView:
    tensors = view.tensors("data")
    if not tensors:
        raise view.error("data", "must hold at least one tensor")
    first = tensors[0]
    if first.dtype not in ("int8", "uint8"):
        raise view.error("data[0]", f"must be int8 or uint8, not {first.dtype}")
    for name, dtype in (("input_scales", "float32"), ("input_zero_points", "int32")):
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
    view.quantization("output_scale", "output_zero_point", first.dtype)
    view.formula(*FORMULAS)
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
    so, zo = f4(scalar(output_scale)), integer(output_zero_point)
    parts = []
    for tensor, scale, zero_point in zip(data, input_scales, input_zero_points, strict=True):
        si, zi = f4(scalar(scale)), integer(zero_point)
        parts.append(tensor if si == so and zi == zo else rescaled(tensor, si, zi, so, zo))
    return np.concatenate(parts, axis=attrs.integer("axis"))


def rescaled(tensor: Array, si: Any, zi: int, so: Any, zo: int) -> Array:
    """One input of a concatenation in the output's scale, in the tensor's own dtype."""
    factor = f4(si) * (f4(1) / f4(so))
    values = tensor.astype(f4) * factor + f4(-zi) * factor
    return saturate(to_integer(values, Rounding.AWAY) + zo, str(tensor.dtype))

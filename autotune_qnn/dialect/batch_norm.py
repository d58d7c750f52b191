"""qnn.batch_norm: PyTorch's quantized batch normalization, for the ones that no convolution has taken up."""

from __future__ import annotations

from typing import Any

import numpy as np

from autotune_qnn.dialect.attributes import Attributes
from autotune_qnn.dialect.numeric import Array, f4, f8, integer, scalar
from autotune_qnn.dialect.pytorch import fma
from autotune_qnn.dialect.registry import OperatorSpec, make_call, reference, register
from autotune_qnn.dialect.view import CallView, TensorView
from autotune_qnn.quantization import Rounding, saturate, to_integer

OPERANDS = (
    "data",
    "gamma",
    "beta",
    "mean",
    "variance",
    "input_scale",
    "input_zero_point",
    "output_scale",
    "output_zero_point",
)


def batch_norm(
    data: Any,
    gamma: Any,
    beta: Any,
    mean: Any,
    variance: Any,
    input_scale: Any,
    input_zero_point: Any,
    output_scale: Any,
    output_zero_point: Any,
    *,
    epsilon: float,
) -> Any:
    """(N, ..., C) normalized along its channels; gamma, beta, mean and variance are float32 (C,), scales float64.

    rint(fma(alpha, q − zi, b)) + zo, saturated, with sigma = 1/sqrt(variance + epsilon), alpha =
    sigma·gamma·(si/so) and b = (beta − mean·sigma·gamma)/so (see `folded`).
    """
    attrs = {"epsilon": float(epsilon), "engine": "pytorch"}
    operands = [
        data,
        gamma,
        beta,
        mean,
        variance,
        input_scale,
        input_zero_point,
        output_scale,
        output_zero_point,
    ]
    return make_call("qnn.batch_norm", operands, attrs)


def _infer_batch_norm(view: CallView) -> TensorView:
    data = view.data("data")
    if data.rank < 2:
        raise view.error("data", f"must have two dimensions or more, not {data.rank}")
    for name in OPERANDS[1:5]:
        parameter = view.data(name, ("float32",), rank=1)
        if parameter.shape != (data.shape[-1],):
            raise view.error(name, f"must have shape ({data.shape[-1]},), not {parameter.shape}")
    view.quantization("input_scale", "input_zero_point", data.dtype, ("float64",))
    view.quantization("output_scale", "output_zero_point", data.dtype, ("float64",))
    view.choice("engine", ("pytorch",))
    if not view.attributes.number("epsilon") >= 0:
        raise view.error("attribute epsilon", "must not be negative")
    return data


register(OperatorSpec("qnn.batch_norm", OPERANDS, _infer_batch_norm))


def folded(
    gamma: Array, beta: Array, mean: Array, variance: Array, epsilon: float, si: Any, so: Any
) -> tuple[Array, Array]:
    """float32 factor and addend of each channel."""
    sigma = (1.0 / np.sqrt(variance + f4(epsilon)).astype(f8)).astype(f4)
    factor = (sigma * gamma).astype(f8) * (f8(si) / f8(so))
    addend = (beta - mean * sigma * gamma).astype(f8) / f8(so)
    return factor.astype(f4), addend.astype(f4)


@reference("qnn.batch_norm")
def batch_norm_reference(attrs: Attributes, data: Array, *parameters: Array) -> Array:
    """Normalize as `batch_norm` states."""
    gamma, beta, mean, variance, input_scale, input_zero, output_scale, output_zero = parameters
    factor, addend = folded(
        gamma, beta, mean, variance, attrs.number("epsilon"), scalar(input_scale), scalar(output_scale)
    )
    real = (data.astype(np.int64) - integer(input_zero)).astype(f4)
    values = to_integer(fma(real, factor, addend), Rounding.TONEAREST)
    return saturate(values + integer(output_zero), str(data.dtype))

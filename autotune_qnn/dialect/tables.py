"""Unary functions of one 8-bit input, which a table of 256 entries holds: sigmoid, tanh, hardswish, exp, …"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from autotune_qnn.dialect import libm
from autotune_qnn.dialect.attributes import Attributes
from autotune_qnn.dialect.engine import (
    ELEMENTWISE_BLOCK,
    Engine,
    checked_engine,
    engine_attributes,
    engine_of,
    formula_attributes,
    scale_dtypes,
)
from autotune_qnn.dialect.numeric import Array, f4, f8, integer, scalar, shifted
from autotune_qnn.dialect.pytorch_tables import looked_up, unary_tables
from autotune_qnn.dialect.registry import OperatorSpec, make_call, reference, register
from autotune_qnn.dialect.view import CallView, Formula, TensorView
from autotune_qnn.quantization import (
    ComputeDtype,
    Rounding,
    dtype_range,
    quantize_multiplier,
    rescale,
    round_away,
    saturate,
    shift_right_away,
)

OPERANDS = ("x", "scale", "zero_point", "output_scale", "output_zero_point")
FLOAT_FORMULAS: tuple[Formula, ...] = (
    (ComputeDtype.FLOAT32, Rounding.TONEAREST),
    (ComputeDtype.FLOAT32, Rounding.AWAY),
)
EXTRA_FORMULAS: dict[str, tuple[Formula, ...]] = {
    "qnn.hardswish": ((ComputeDtype.INT16, Rounding.TFLITE),),
    "qnn.abs": ((ComputeDtype.INT64, Rounding.TFLITE),),
}


ENGINES: dict[str, tuple[Engine, ...]] = {
    "qnn.sigmoid": (Engine.PYTORCH, Engine.QNNPACK),
    "qnn.tanh": (Engine.PYTORCH, Engine.QNNPACK),
    "qnn.hardswish": (Engine.PYTORCH, Engine.QNNPACK),
    "qnn.hardsigmoid": (Engine.PYTORCH, Engine.QNNPACK),
}


class UnaryConstructor(Protocol):
    """Constructor of a unary table operator."""

    def __call__(
        self,
        x: Any,
        scale: Any,
        zero_point: Any,
        output_scale: Any,
        output_zero_point: Any,
        *,
        rounding: str = "",
        compute_dtype: str = ComputeDtype.FLOAT32,
        engine: str = "",
        tail_block: int | None = None,
        memory_order: str = "NHWC",
    ) -> Any:
        """A call of the operator on int8 or uint8 data with scalar parameters; the result has the data's
        dtype.

        float32/TONEAREST: rint(f4(fn(f4(q − zi)·si))·(1/so) + zo), one rounding, with XNNPACK's functions
        (sigmoid in float64). float32/AWAY: roundf(fn(si·f4(q − zi))·(1/so)) + zo with the C library's float
        functions.

        Engines (sigmoid, tanh, hardswish, hardsigmoid; float64 scales) compute PyTorch's formulas, see
        `dialect.pytorch_tables`.
        """
        ...


def _constructor(name: str) -> UnaryConstructor:
    def construct(
        x: Any,
        scale: Any,
        zero_point: Any,
        output_scale: Any,
        output_zero_point: Any,
        *,
        rounding: str = "",
        compute_dtype: str = ComputeDtype.FLOAT32,
        engine: str = "",
        tail_block: int | None = None,
        memory_order: str = "NHWC",
    ) -> Any:
        operands = [x, scale, zero_point, output_scale, output_zero_point]
        attrs = {
            **formula_attributes(engine, rounding, compute_dtype),
            **engine_attributes(engine, memory_order, tail_block, ELEMENTWISE_BLOCK),
        }
        return make_call(name, operands, attrs)

    construct.__name__ = name.removeprefix("qnn.")
    construct.__doc__ = f"A call of {name}; see `UnaryConstructor`."
    return construct


sigmoid = _constructor("qnn.sigmoid")
tanh = _constructor("qnn.tanh")
hardswish = _constructor("qnn.hardswish")
hardsigmoid = _constructor("qnn.hardsigmoid")
exp = _constructor("qnn.exp")
sqrt = _constructor("qnn.sqrt")
rsqrt = _constructor("qnn.rsqrt")
erf = _constructor("qnn.erf")
log = _constructor("qnn.log")
absolute = _constructor("qnn.abs")


def _sigmoid_float32(x: Array) -> Array:
    return np.asarray(f4(1) / (f4(1) + libm.expf(-x)))


def _sigmoid_float64(x: Array) -> Array:
    power = np.exp(np.clip(x.astype(f8), -200, 200))
    value = np.where(x > 100, 1.0, np.where(x < -100, 0.0, power / (1 + power)))
    return value.astype(f4)


def _hardswish(x: Array) -> Array:
    return np.asarray(x * np.clip(x + f4(3), f4(0), f4(6)) / f4(6))


def _hardsigmoid(x: Array) -> Array:
    return np.asarray(np.clip(x + f4(3), f4(0), f4(6)) / f4(6))


def _rsqrt(x: Array) -> Array:
    return np.asarray(f4(1) / np.sqrt(x))


# The function of each operator in float32; sigmoid's TONEAREST form is XNNPACK's, in float64.
_FUNCTIONS: dict[str, Callable[[Array], Array]] = {
    "qnn.sigmoid": _sigmoid_float32,
    "qnn.tanh": libm.tanhf,
    "qnn.hardswish": _hardswish,
    "qnn.hardsigmoid": _hardsigmoid,
    "qnn.exp": libm.expf,
    "qnn.sqrt": np.sqrt,
    "qnn.rsqrt": _rsqrt,
    "qnn.erf": libm.erff,
    "qnn.log": libm.logf,
    "qnn.abs": np.abs,
}
UNARY_OPERATORS = tuple(sorted(_FUNCTIONS))


def _infer_unary(view: CallView) -> TensorView:
    x = view.data("x")
    engine = checked_engine(view, *ENGINES.get(view.operator, ()))
    view.quantization("scale", "zero_point", x.dtype, scale_dtypes(engine))
    view.quantization("output_scale", "output_zero_point", x.dtype, scale_dtypes(engine))
    if engine is Engine.NONE:
        view.formula(*FLOAT_FORMULAS, *EXTRA_FORMULAS.get(view.operator, ()))
    else:
        view.formula(FLOAT_FORMULAS[0])
    return x


def _register_unary(name: str) -> None:
    register(OperatorSpec(name, OPERANDS, _infer_unary))

    @reference(name)
    def unary_reference(
        attrs: Attributes,
        x: Array,
        scale: Array,
        zero_point: Array,
        output_scale: Array,
        output_zero_point: Array,
    ) -> Array:
        zi, zo = integer(zero_point), integer(output_zero_point)
        dtype = str(x.dtype)
        engine = engine_of(attrs)
        if engine is not Engine.NONE:
            tables = unary_tables(name, engine, scalar(scale), zi, scalar(output_scale), zo, dtype)
            return looked_up(x, *tables, attrs)
        si, so = f4(scalar(scale)), f4(scalar(output_scale))
        low, high = dtype_range(dtype)
        # Each of the 256 possible inputs once, then the table.
        inputs = np.arange(low, high + 1)
        compute = ComputeDtype(attrs.string("compute_dtype"))
        if compute is ComputeDtype.INT16:
            table = _hardswish_fixed(inputs - zi, si, so) + zo
        elif compute is ComputeDtype.INT64:
            table = rescale(np.abs(inputs - zi), f8(si / so), Rounding.TFLITE) + zo
        else:
            table = _float_table(name, inputs, si, zi, so, zo, Rounding(attrs.string("rounding")))
        return saturate(table, dtype)[shifted(x, np.array(low))]


for _name in UNARY_OPERATORS:
    _register_unary(_name)


def _float_table(name: str, inputs: Array, si: Any, zi: int, so: Any, zo: int, rounding: Rounding) -> Array:
    """Outputs of the float formulas, not yet saturated; NaN becomes the lowest value."""
    real = (inputs - zi).astype(f4) * f4(si)
    inverse = f4(1) / f4(so)
    nearest = rounding is Rounding.TONEAREST
    function = _sigmoid_float64 if nearest and name == "qnn.sigmoid" else _FUNCTIONS[name]
    with np.errstate(all="ignore"):
        values = function(real).astype(f4) * inverse
    values = np.nan_to_num(values, nan=-np.inf, posinf=np.inf, neginf=-np.inf)
    return np.rint(values + f4(zo)) if nearest else np.trunc(round_away(values) + f4(zo))


def _high_multiply16(left: Array, right: int) -> Array:
    """(left · right + 2¹⁴) >> 15, saturated to int16."""
    return np.clip((left * right + (1 << 14)) >> 15, -(1 << 15), (1 << 15) - 1)


def _multiplier16(multiplier: int) -> int:
    return (multiplier + (1 << 15)) >> 16 if multiplier < 0x7FFF0000 else 0x7FFF


def _hardswish_fixed(difference: Array, si: Any, so: Any) -> Array:
    """TFLite's int16 hard swish of q − zi, before the output zero point."""
    fine = f4(1 / 128) * f4(si)  # inputs are taken with seven more fraction bits
    output_multiplier, output_exponent = (int(v) for v in quantize_multiplier(f8(fine / f4(so))))
    relu_multiplier, relu_exponent = (int(v) for v in quantize_multiplier(f8(fine / (f4(3) / f4(32768)))))
    value = difference.astype(np.int64) * 128
    scaled = _high_multiply16(value, _multiplier16(output_multiplier))
    relu = value
    if relu_exponent > 0:
        relu = np.clip(relu << (relu_exponent - 1), -(1 << 15), (1 << 15) - 1)
    relu = _high_multiply16(relu, _multiplier16(relu_multiplier))
    if relu_exponent > 0:
        relu = np.clip(relu << 1, -(1 << 15), (1 << 15) - 1)
    if relu_exponent < 0:
        relu = shift_right_away(relu, -relu_exponent)
    relu = (relu + (1 << 15)) >> 1
    product = np.trunc((relu * scaled) / 32768.0).astype(np.int64)  # this multiplication truncates to zero
    if output_exponent > 0:
        return product << output_exponent
    return shift_right_away(product, -output_exponent)

"""Operator options of the TFLite schema as frozen dataclasses.

`read_options` turns the flatbuffer table of one operator into one of these. Enumerations keep the schema's
numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import tflite

from autotune_qnn.errors import ModelError


class Activation(IntEnum):
    """The fused activation functions of the schema."""

    NONE = 0
    RELU = 1
    RELU_N1_TO_1 = 2
    RELU6 = 3
    TANH = 4
    SIGN_BIT = 5


class Padding(IntEnum):
    """How a window operator pads."""

    SAME = 0
    VALID = 1


@dataclass(frozen=True, slots=True)
class Options:
    """Base of all operator options."""


@dataclass(frozen=True, slots=True)
class ConvOptions(Options):
    """CONV_2D, DEPTHWISE_CONV_2D and TRANSPOSE_CONV; pairs are (height, width)."""

    padding: Padding
    strides: tuple[int, int]
    dilation: tuple[int, int]
    activation: Activation


@dataclass(frozen=True, slots=True)
class PoolOptions(Options):
    """AVERAGE_POOL_2D and MAX_POOL_2D; pairs are (height, width)."""

    padding: Padding
    strides: tuple[int, int]
    window: tuple[int, int]
    activation: Activation


@dataclass(frozen=True, slots=True)
class DenseOptions(Options):
    """FULLY_CONNECTED."""

    activation: Activation
    shuffled: bool
    keep_dims: bool


@dataclass(frozen=True, slots=True)
class ActivationOptions(Options):
    """ADD, SUB, MUL, DIV: only a fused activation."""

    activation: Activation


@dataclass(frozen=True, slots=True)
class ConcatOptions(Options):
    """CONCATENATION."""

    axis: int
    activation: Activation


@dataclass(frozen=True, slots=True)
class AxisOptions(Options):
    """PACK, UNPACK: the axis and the number of parts."""

    axis: int
    count: int


@dataclass(frozen=True, slots=True)
class CountOptions(Options):
    """SPLIT: the number of parts."""

    count: int


@dataclass(frozen=True, slots=True)
class AlphaOptions(Options):
    """LEAKY_RELU (`alpha`) and SOFTMAX (`beta`): one real factor."""

    factor: float


@dataclass(frozen=True, slots=True)
class ReduceOptions(Options):
    """MEAN."""

    keep_dims: bool


@dataclass(frozen=True, slots=True)
class ReshapeOptions(Options):
    """RESHAPE (new shape) and SQUEEZE (axes); empty where the table has none."""

    values: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ResizeOptions(Options):
    """RESIZE_BILINEAR and RESIZE_NEAREST_NEIGHBOR."""

    align_corners: bool
    half_pixel_centers: bool


@dataclass(frozen=True, slots=True)
class StridedSliceOptions(Options):
    """STRIDED_SLICE: bit masks over the axes."""

    begin_mask: int
    end_mask: int
    ellipsis_mask: int
    new_axis_mask: int
    shrink_axis_mask: int
    offset: bool


def _vector(array: Any) -> tuple[int, ...]:
    """The first entries of a flatbuffer vector (more than any rank), () for none."""
    return () if isinstance(array, int) else tuple(int(value) for value in array[:16])


def _conv(table: Any) -> ConvOptions:
    return ConvOptions(
        Padding(table.Padding()),
        (table.StrideH(), table.StrideW()),
        (table.DilationHFactor(), table.DilationWFactor()),
        Activation(table.FusedActivationFunction()),
    )


def _transpose_conv(table: Any) -> ConvOptions:
    return ConvOptions(
        Padding(table.Padding()),
        (table.StrideH(), table.StrideW()),
        (1, 1),
        Activation(table.FusedActivationFunction()),
    )


def _pool(table: Any) -> PoolOptions:
    return PoolOptions(
        Padding(table.Padding()),
        (table.StrideH(), table.StrideW()),
        (table.FilterHeight(), table.FilterWidth()),
        Activation(table.FusedActivationFunction()),
    )


def _dense(table: Any) -> DenseOptions:
    return DenseOptions(
        Activation(table.FusedActivationFunction()), table.WeightsFormat() != 0, bool(table.KeepNumDims())
    )


def _resize(table: Any) -> ResizeOptions:
    return ResizeOptions(bool(table.AlignCorners()), bool(table.HalfPixelCenters()))


def _strided_slice(table: Any) -> StridedSliceOptions:
    return StridedSliceOptions(
        table.BeginMask(),
        table.EndMask(),
        table.EllipsisMask(),
        table.NewAxisMask(),
        table.ShrinkAxisMask(),
        bool(table.Offset()),
    )


def _activation(table: Any) -> ActivationOptions:
    return ActivationOptions(Activation(table.FusedActivationFunction()))


@dataclass(frozen=True, slots=True)
class _Rule:
    """How one operator's options are read; `default` stands in where the file has none (None: there must be
    some).
    """

    table: str
    read: Callable[[Any], Options]
    default: Options | None = None


_NO_ACTIVATION = ActivationOptions(Activation.NONE)
_RULES: dict[str, _Rule] = {
    "CONV_2D": _Rule("Conv2DOptions", _conv),
    "DEPTHWISE_CONV_2D": _Rule("DepthwiseConv2DOptions", _conv),
    "TRANSPOSE_CONV": _Rule("TransposeConvOptions", _transpose_conv),
    "FULLY_CONNECTED": _Rule("FullyConnectedOptions", _dense),
    "AVERAGE_POOL_2D": _Rule("Pool2DOptions", _pool),
    "MAX_POOL_2D": _Rule("Pool2DOptions", _pool),
    "ADD": _Rule("AddOptions", _activation, _NO_ACTIVATION),
    "SUB": _Rule("SubOptions", _activation, _NO_ACTIVATION),
    "MUL": _Rule("MulOptions", _activation, _NO_ACTIVATION),
    "DIV": _Rule("DivOptions", _activation, _NO_ACTIVATION),
    "CONCATENATION": _Rule(
        "ConcatenationOptions", lambda t: ConcatOptions(t.Axis(), Activation(t.FusedActivationFunction()))
    ),
    "PACK": _Rule("PackOptions", lambda t: AxisOptions(t.Axis(), t.ValuesCount())),
    "UNPACK": _Rule("UnpackOptions", lambda t: AxisOptions(t.Axis(), t.Num())),
    "SPLIT": _Rule("SplitOptions", lambda t: CountOptions(t.NumSplits())),
    "LEAKY_RELU": _Rule("LeakyReluOptions", lambda t: AlphaOptions(t.Alpha())),
    "SOFTMAX": _Rule("SoftmaxOptions", lambda t: AlphaOptions(t.Beta())),
    "MEAN": _Rule("ReducerOptions", lambda t: ReduceOptions(bool(t.KeepDims())), ReduceOptions(False)),
    "RESHAPE": _Rule(
        "ReshapeOptions", lambda t: ReshapeOptions(_vector(t.NewShapeAsNumpy())), ReshapeOptions(())
    ),
    "SQUEEZE": _Rule(
        "SqueezeOptions", lambda t: ReshapeOptions(_vector(t.SqueezeDimsAsNumpy())), ReshapeOptions(())
    ),
    "RESIZE_BILINEAR": _Rule("ResizeBilinearOptions", _resize, ResizeOptions(False, False)),
    "RESIZE_NEAREST_NEIGHBOR": _Rule("ResizeNearestNeighborOptions", _resize, ResizeOptions(False, False)),
    "STRIDED_SLICE": _Rule("StridedSliceOptions", _strided_slice, StridedSliceOptions(0, 0, 0, 0, 0, False)),
}


def read_options(name: str, table: Any) -> Options | None:
    """The options of the flatbuffer operator `table`, whose TFLite name is `name`; None for operators without
    options.

    ModelError where the options are missing, of another operator, or hold an unknown enumeration value.
    """
    rule = _RULES.get(name)
    if rule is None:
        return None
    kind = table.BuiltinOptionsType()
    union = table.BuiltinOptions()
    if kind == 0 or union is None:
        if rule.default is None:
            raise ModelError(f"operator {name} comes without its {rule.table}: the file is damaged")
        return rule.default
    if kind != getattr(tflite.BuiltinOptions, rule.table):
        raise ModelError(
            f"operator {name} has options of kind {kind}, expected {rule.table}: the file is damaged"
        )
    options = getattr(tflite, rule.table)()
    options.Init(union.Bytes, union.Pos)
    try:
        return rule.read(options)
    except ValueError as error:
        raise ModelError(f"operator {name} has an option out of range ({error})") from error

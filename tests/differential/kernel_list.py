"""The conformance list: every operator in every arithmetic, over shapes with awkward channel counts."""
# ruff: noqa: E501 - one case a line

from __future__ import annotations

from typing import Any

from tvm import relax

from autotune_qnn import dialect as q
from autotune_qnn.dialect import constant
from autotune_qnn.dialect.tables import UNARY_OPERATORS
from tests.support.kernel_cases import (
    ACCUMULATORS,
    EIGHT_BIT,
    REFERENCE,
    XNNPACK,
    Bench,
    Case,
    case,
)

IMAGES = ((1, 5, 6, 1), (2, 4, 3, 3), (1, 7, 5, 17), (1, 4, 4, 33))
SUMS = (("int32", "UPWARD"), ("int64", "TFLITE"))
MODES = ("asymmetric", "align_corners", "half_pixel")


def label(arithmetic: Any) -> str:
    """A requantize's arithmetic in a word or two."""
    return " ".join(str(part) for part in arithmetic[:3] + arithmetic[4:] if part)


def conv(
    channels: int, kernel: Any, arithmetic: Any = XNNPACK, per_channel: bool = False, **options: Any
) -> Any:
    """A convolution, its bias and its requantize."""

    def build(b: Bench, x: Any) -> Any:
        total = b.convolved(x, channels, kernel, **options)
        terms = kernel[0] * kernel[1] * int(x.ty.shape[3]) // options.get("groups", 1)
        return b.rescaled(total, arithmetic, terms, per_channel)

    return build


def _residual(b: Bench, x: Any) -> Any:
    y = b(relax.op.clip(b.rescaled(b.convolved(x, 16, padding=(1, 1, 1, 1)), XNNPACK, 144), 5, 120))
    return q.add(y, x, *_binary(b), rounding="UPWARD", compute_dtype="int32")


def _binary(b: Bench) -> tuple[Any, ...]:
    return (b.real(0.1), b.zero, b.real(0.037), b.other_zero, b.real(0.13), b.zero)


def _unary(b: Bench, so: float = 0.05) -> tuple[Any, ...]:
    return (b.real(0.04), b.zero, b.real(so), b.other_zero)


ONE, SAME = (1, 1), {"padding": (1, 1, 1, 1)}
ISAS = {"every_isa": True}
PAIRS = {"accumulation": "PAIRS_INT16"}
UNSIGNED = {"dtypes": ("uint8",)}
CONVOLUTIONS = (
    *(case(f"conv2d {label(a)}", conv(20, ONE, a, True), (1, 2, 3, 5)) for a in ACCUMULATORS),
    case("conv2d 1x1", conv(24, ONE), (1, 5, 7, 32), (2, 3, 3, 3), **ISAS),
    case("conv2d 3x3 stride 2", conv(33, (3, 3), strides=(2, 2), **SAME), (1, 7, 8, 3), **ISAS),
    case("conv2d 3x3", conv(16, (3, 3), **SAME), (1, 4, 5, 17), (1, 4, 4, 8)),
    case("conv2d weights' zero point", conv(33, (3, 3), zero=120, **SAME), (1, 3, 4, 17), (1, 4, 4, 32), **ISAS),
    case("conv2d 1 to 1", conv(1, (2, 5), padding=(0, 4, 1, 0)), (1, 4, 4, 1), **ISAS),
    case("conv2d dilated", conv(17, (3, 3), dilation=(2, 2), padding=(2,) * 4), (1, 6, 5, 8), (1, 5, 5, 3)),
    case("conv2d grouped", conv(64, (3, 3), groups=4, **SAME), (1, 4, 4, 32), **ISAS),
    case("conv2d narrow groups", conv(12, (3, 3), groups=3, zero=120, **SAME), (1, 4, 3, 6), **ISAS),
    case("conv2d accumulators", lambda b, x: b.convolved(x, 17, ONE), (1, 3, 4, 33)),
    case("conv2d residual", _residual, (1, 4, 4, 16), **ISAS),
    *(case(f"depthwise {label(a)}", conv(20, (2, 2), a, True, groups=20), (1, 3, 4, 20)) for a in ACCUMULATORS),
    case("depthwise", conv(32, (3, 3), groups=32, **SAME), (1, 7, 7, 32), **ISAS),
    case("depthwise 5x5", conv(33, (5, 5), groups=33, strides=(2, 2), padding=(2,) * 4), (1, 9, 7, 33), **ISAS),
    case("depthwise 8 channels", conv(8, (3, 3), groups=8, **SAME), (1, 6, 16, 8), **ISAS),
    case("depthwise 4 channels", conv(4, (5, 5), groups=4, zero=130, padding=(2,) * 4), (2, 5, 12, 4)),
    case("depthwise 16 channels", conv(16, (3, 3), groups=16, strides=(2, 1), padding=(1,) * 4), (1, 7, 6, 16), **ISAS),
    case("depthwise overlapping", conv(72, (3, 3), groups=72, **SAME), (1, 4, 6, 72), **ISAS),
    case("depthwise 5x5 overlapping", conv(120, (5, 5), groups=120, padding=(2,) * 4), (2, 6, 5, 120), **ISAS),
    case("depthwise 6x7", conv(40, (6, 7), groups=40, strides=(1, 3), padding=(3,) * 4), (1, 7, 10, 40)),
    case("depthwise wide zero point", conv(46, (2, 5), groups=46, zero=130, strides=(2, 2)), (1, 7, 9, 46)),
    case("depthwise weights' zero point", conv(17, (3, 3), groups=17, zero=130, **SAME), (2, 4, 4, 17), **ISAS),
    case("depthwise multiplier", conv(6, (3, 3), groups=3, **SAME), (1, 5, 5, 3), **ISAS),
    case("depthwise in pairs", conv(32, (3, 3), groups=32, **SAME, **PAIRS), (1, 7, 7, 32), **ISAS, **UNSIGNED),
    case("depthwise 5x5 in pairs", conv(33, (5, 5), groups=33, strides=(2, 2), padding=(2,) * 4, **PAIRS), (2, 9, 7, 33), **UNSIGNED),
    case("depthwise in pairs, weights' zero point", conv(17, (2, 3), groups=17, zero=-9, **PAIRS), (1, 4, 4, 17), **ISAS, **UNSIGNED),
    case("depthwise multiplier in pairs", conv(16, (3, 3), groups=8, **SAME, **PAIRS), (1, 5, 5, 8), **UNSIGNED),
    case("depthwise dilated", conv(8, (3, 3), groups=8, dilation=(2, 2), padding=(2,) * 4), (1, 7, 7, 8)),
)  # fmt: skip


def _dense(b: Bench, x: Any, units: int = 17) -> Any:
    depth = int(x.ty.shape[-1])
    weights = b.array((units, depth), "int8")
    parameters = (b.zero, b.integer(0), b.real(0.1), b.real(0.01))
    total = b(relax.op.add(b(q.dense(x, weights, *parameters, units=units)), b.bias(units)))
    return b.rescaled(total, ACCUMULATORS[-1], depth)


def transposed(channels: int, kernel: Any, **options: Any) -> Any:
    """A transposed convolution, its bias and its requantize."""
    return conv(channels, kernel, transposed=True, **options)


def _matmul(b: Bench, x: Any, y: Any) -> Any:
    return q.batch_matmul(x, y, b.zero, b.other_zero, b.real(0.1), b.real(0.1))


PRODUCTS = (
    case("dense", _dense, (1, 33), (4, 64), (2, 3, 7), (1, 2, 2, 16), **ISAS),
    case("batch_matmul", _matmul, [(1, 4, 16), (1, 8, 16)], [(3, 5, 17), (3, 33, 17)], [(1, 3, 7), (4, 6, 7)], **ISAS),
    case("batch_matmul constant", lambda b, x: _matmul(b, x, b.array((2, 5, 9))), (2, 3, 9)),
    case("batch_matmul of a constant", lambda b, x: _matmul(b, b.array((2, 5, 9)), x), (2, 3, 9)),
    case("conv2d_transpose", transposed(32, (3, 3), strides=(2, 2), **SAME), (1, 3, 3, 16), (2, 2, 3, 3), **ISAS),
    case("conv2d_transpose 2x2", transposed(5, (2, 2), strides=(2, 2)), (1, 3, 3, 17), (1, 1, 1, 1)),
    case("conv2d_transpose longer", transposed(33, (4, 4), strides=(2, 2), output_padding=(1, 1), **SAME), (1, 2, 2, 17)),
    case("conv2d_transpose widened", transposed(4, ONE, strides=(2, 3)), (1, 4, 4, 4)),
    case("conv2d_transpose cropped", transposed(4, ONE, strides=(2, 2), padding=(1, 0, 0, 1)), (1, 4, 4, 8)),
    case("conv2d_transpose grouped", transposed(16, (3, 3), strides=(2, 2), groups=8, **SAME), (1, 5, 5, 8)),
    case("conv2d_transpose zero point", transposed(7, (3, 2), strides=(3, 1), zero=120), (1, 4, 4, 8), **ISAS),
)  # fmt: skip


def each(calls: Any) -> Any:
    """Several results of one case."""
    return relax.Tuple(list(calls))


def unary(name: str, rounding: str, compute: str = "float32") -> Case:
    """A unary operator by its name in the dialect, on a short channel axis and a long flat one."""
    construct = getattr(q, {"abs": "absolute"}.get(name, name))
    return case(f"{name} {compute} {rounding}", lambda b, x: construct(x, *_unary(b), rounding=rounding, compute_dtype=compute), (1, 5, 5, 17), (300,))  # fmt: skip


def _requantized(b: Bench, x: Any, arithmetic: Any, out_dtype: str = "") -> Any:
    compute, rounding, tail, block, axis = arithmetic
    return b(q.requantize(x, *_unary(b), compute_dtype=compute, rounding=rounding, tail_rounding=tail, tail_block=block, tail_axis=axis, out_dtype=out_dtype or b.dtype))  # fmt: skip


def _flipped(b: Bench, x: Any) -> Any:
    other, moved = ("uint8", 128) if b.dtype == "int8" else ("int8", -128)
    zero = int(b.zero.value.numpy()) + moved
    return q.requantize(x, b.real(0.04), b.zero, b.real(0.04), b.integer(zero), compute_dtype="int32", rounding="UPWARD", out_dtype=other)  # fmt: skip


def _leaky(b: Bench, x: Any, alpha: float, formula: Any) -> Any:
    return q.leaky_relu(x, *_unary(b), alpha=alpha, compute_dtype=formula[0], rounding=formula[1])


def _prelu(b: Bench, x: Any, slope: Any) -> Any:
    scales = (b.real(0.1), b.zero, b.real(0.01), b.integer(4), b.real(0.08), b.integer(2))
    return q.prelu(x, slope, *scales, rounding="TFLITE", compute_dtype="int64")


def _chained(b: Bench, x: Any, y: Any) -> Any:
    """Fixed-point sums one after the other: more scalars than one buffer holds."""
    for _ in range(5):
        x = b(q.add(x, y, *_binary(b), rounding="TFLITE", compute_dtype="int64"))
    return x


PAIRS = ([(1, 5, 5, 17), (1, 5, 5, 17)], [(2, 3, 3, 16), (16,)], [(1, 1, 1, 3), (1, 4, 4, 3)])
ELEMENTS = (
    *(case(f"requantize {label(a)}", lambda b, x, a=a: _requantized(b, x, a), (2, 4, 3, 3), (1, 3, 5, 17)) for a in (*ACCUMULATORS, EIGHT_BIT)),
    case("requantize flipped", _flipped, (1, 5, 5, 17)),
    case("requantize then clip", lambda b, x: relax.op.clip(_requantized(b, x, REFERENCE), 5, 60), (1, 5, 5, 17)),
    *(case(f"{name} {f[0]}", lambda b, x, y, f=f, name=name: getattr(q, name)(x, y, *_binary(b), compute_dtype=f[0], rounding=f[1]), *PAIRS) for name in ("add", "subtract") for f in SUMS),
    case("add a constant", lambda b, x: q.add(x, b.array((17,)), *_binary(b), compute_dtype="int32", rounding="UPWARD"), (1, 5, 5, 17)),
    case("add of itself", lambda b, x: q.add(x, x, *_binary(b), compute_dtype="int64", rounding="TFLITE"), (1, 5, 5, 17)),
    case("add chain", _chained, [(1, 5, 5, 17), (1, 5, 5, 17)]),
    case("mul float32", lambda b, x, y: q.mul(x, y, *_binary(b), compute_dtype="float32", rounding="TONEAREST"), *PAIRS),
    case("mul int64", lambda b, x, y: q.mul(x, y, *_binary(b), compute_dtype="int64", rounding="TFLITE"), *PAIRS),
    case("mul in blocks", lambda b, x, y: q.mul(x, y, *_binary(b), compute_dtype="int64", rounding="TFLITE", tail_block=16), *PAIRS),
    case("mul by a constant", lambda b, x: q.mul(x, b.array((1, 17)), *_binary(b), compute_dtype="float32", rounding="TONEAREST"), (1, 5, 5, 17)),
    *(unary(name.removeprefix("qnn."), rounding) for name in UNARY_OPERATORS for rounding in ("TONEAREST", "AWAY")),
    unary("hardswish", "TFLITE", "int16"),
    unary("abs", "TFLITE", "int64"),
    *(case(f"leaky_relu {f[0]}", lambda b, x, f=f: each(_leaky(b, x, alpha, f) for alpha in (0.1, 1.7, -0.3)), (1, 5, 5, 17)) for f in SUMS),
    case("prelu", lambda b, x: each(_prelu(b, x, b.array(shape)) for shape in ((17,), (1, 1, 17), (4, 4, 17), (1,))), (2, 4, 4, 17)),
    case("prelu of a tensor", _prelu, [(2, 4, 4, 17), (17,)]),
)  # fmt: skip


def _concatenated(b: Bench, *xs: Any, axis: int, equal: bool = False) -> Any:
    scales = [b.real(0.1)] * len(xs) if equal else [b.real(v) for v in (0.1, 0.037, 0.2)[: len(xs)]]
    zeros = [b.zero] * len(xs) if equal else [b.zero, b.other_zero, b.lowest][: len(xs)]
    parameters = (relax.Tuple(scales), relax.Tuple(zeros), b.real(0.1), b.zero)
    return q.concatenate(relax.Tuple(list(xs)), *parameters, axis=axis)


def _branches(b: Bench, x: Any, join: Any, further: bool = False) -> Any:
    """Convolutions, a pooling and the input itself, joined; with `further`, what another convolution makes of it."""
    depth = int(x.ty.shape[-1])
    parts = [
        conv(20, ONE, per_channel=True)(b, x),
        conv(33, (3, 3), **SAME)(b, x),
        b(_pooled(b, x, 3, 1, 1)),
        conv(depth, (3, 3), groups=depth, **SAME)(b, x),
        x,
        b(relax.op.clip(conv(64, ONE, REFERENCE)(b, x), 3, 90)),
        b(q.add(conv(depth, ONE)(b, x), x, *_binary(b), rounding="UPWARD", compute_dtype="int32")),
    ]
    halves = b(join(b, *parts[:3])), b(join(b, *parts[3:6]))
    joined = b(join(b, *halves, parts[6]))
    return conv(16, ONE)(b, joined) if further else joined


def _rescaled(b: Bench, *xs: Any) -> Any:
    return _concatenated(b, *xs, axis=-1)


def _equal(b: Bench, *xs: Any) -> Any:
    return _concatenated(b, *xs, axis=-1, equal=True)


def _pytorch(b: Bench, *xs: Any, order: str = "NHWC") -> Any:
    """Scales for which PyTorch's formulas differ, of channels in whole blocks and of those behind them."""
    scales = relax.Tuple([constant(value, "float64") for value in (0.013, 0.113, 0.183)[: len(xs)]])
    zeros = relax.Tuple([b.zero, b.other_zero, b.zero][: len(xs)])
    parameters = (scales, zeros, constant(0.026, "float64"), b.other_zero)
    return q.concatenate(relax.Tuple(list(xs)), *parameters, axis=3, engine="pytorch", memory_order=order)


def _shuffled(b: Bench, *xs: Any, cut: bool) -> Any:
    """The channels of a concatenation in turns, and their halves."""
    joined = b(_concatenated(b, *xs, axis=-1))
    *outer, channels = (int(extent) for extent in joined.ty.shape)
    rows = b(relax.op.reshape(joined, (*outer, 2, channels // 2)))
    turned = b(relax.op.permute_dims(rows, [*range(len(outer)), len(outer) + 1, len(outer)]))
    result = relax.op.reshape(turned, (*outer, channels))
    if not cut:
        return result
    result, half = b(result), channels // 2
    places = ((0, half), (half, channels))
    return each(relax.op.strided_slice(result, [len(outer)], [first], [end]) for first, end in places)


def _pooled(b: Bench, x: Any, size: int, stride: int, pad: int = 0, **options: Any) -> Any:
    window = {"pool_size": (size, size), "strides": (stride, stride), "padding": (pad,) * 4, **options}
    return q.avg_pool2d(x, b.real(0.1), b.zero, b.real(0.1), b.zero, **window)


def _mean(b: Bench, x: Any, axis: Any, keep: bool, formula: Any) -> Any:
    compute, rounding, block = formula
    return q.mean(x, *_unary(b, 0.03), axis=axis, keepdims=keep, compute_dtype=compute, rounding=rounding, tail_block=block)  # fmt: skip


def _softmax(b: Bench, x: Any, compute: str, scale: float = 0.1, axis: int = -1) -> Any:
    return q.softmax(x, b.real(scale), b.zero, b.real(1 / 256), b.lowest, axis=axis, compute_dtype=compute)


def _resized(b: Bench, x: Any, size: Any, mode: str, formula: Any) -> Any:
    return q.resize2d(x, b.real(0.1), b.zero, size=size, coordinate_transformation_mode=mode, compute_dtype=formula[0], rounding=formula[1])  # fmt: skip


MEANS = (("float32", "TONEAREST", 0), ("int64", "TFLITE", 0), ("int64", "RUY", 16))
RESIZES = (("int32", "UPWARD"), ("int32", "AWAY"), ("float32", "TFLITE"), ("float32", "RUY"))
WINDOWS = (
    *(case(f"concatenate axis {axis} {'equal' if equal else 'rescaled'}", lambda b, *xs, axis=axis, equal=equal: _concatenated(b, *xs, axis=axis, equal=equal), *shapes)
      for equal in (False, True) for axis, shapes in ((-1, ([(1, 5, 5, 16), (1, 5, 5, 32)], [(1, 4, 4, 3), (1, 4, 4, 17), (1, 4, 4, 33)], [(1, 3, 3, 64), (1, 3, 3, 90)])), (1, ([(2, 3, 4), (2, 5, 4)],)), (0, ([(7,), (3,)],)))),
    *(case(f"concatenate branches{name}", lambda b, x, join=join: _branches(b, x, join), (1, 5, 5, 16), (2, 4, 3, 33), **ISAS)
      for name, join in (("", _rescaled), (" equal", _equal), (" pytorch", _pytorch), (" pytorch NCHW", lambda b, *xs: _pytorch(b, *xs, order="NCHW")))),
    case("concatenate branches and convolve", lambda b, x: _branches(b, x, _rescaled, True), (1, 5, 5, 32)),
    *(case(f"concatenate in turns{' cut' if cut else ''}", lambda b, *xs, cut=cut: _shuffled(b, *xs, cut=cut), [(1, 3, 5, 58)] * 2, [(2, 2, 3, 14)] * 2, [(3, 6)] * 2, [(1, 2, 3, 20), (1, 2, 3, 44)], **ISAS)
      for cut in (False, True)),
    case("avg_pool2d", lambda b, x: _pooled(b, x, 3, 2), (1, 7, 7, 32), (1, 5, 6, 1), (2, 9, 9, 17)),
    case("avg_pool2d global", lambda b, x: _pooled(b, x, 7, 7), (1, 7, 7, 64), (2, 7, 7, 33)),
    case("avg_pool2d padded", lambda b, x: _pooled(b, x, 3, 2, 1), *IMAGES),
    case("avg_pool2d large", lambda b, x: _pooled(b, x, 13, 3, 6), (1, 20, 20, 3)),
    case("avg_pool2d with padding counted", lambda b, x: _pooled(b, x, 3, 1, 1, count_include_pad=True), (1, 6, 6, 33)),
    case("avg_pool2d ceil", lambda b, x: _pooled(b, x, 3, 2, ceil_mode=True), (1, 8, 9, 16)),
    case("avg_pool2d dilated", lambda b, x: _pooled(b, x, 2, 1, 1, dilation=(2, 2)), (1, 9, 9, 16)),
    *(case(f"mean {f[1]} {axis}", lambda b, x, f=f, axis=axis, keep=keep: _mean(b, x, axis, keep, f), shape)
      for f in MEANS for axis, keep, shape in (((1, 2), True, (1, 7, 7, 64)), ((1, 2), False, (2, 5, 6, 33)), ((3,), True, (2, 3, 4, 5)), ((1,), False, (3, 1001)), ((0, 2), False, (2, 5, 7, 17)))),
    case("mean of all", lambda b, x: _mean(b, x, (0, 1), False, MEANS[0]), (4, 6)),
    *(case(f"softmax {c}", lambda b, x, c=c: each(_softmax(b, x, c, s) for s in (0.1, 0.003, 1.0)), (1, 1001), (3, 17), (2, 5, 5, 3), (1, 1)) for c in ("float32", "int64")),
    *(case(f"softmax {c} axis", lambda b, x, c=c: _softmax(b, x, c, axis=1), (2, 7, 3)) for c in ("float32", "int64")),
    case("softmax of one row", lambda b, x: _softmax(b, x, "float32", axis=0), (10,)),
    *(case(f"resize2d {f[0]} {f[1]}", lambda b, x, f=f: each(_resized(b, x, size, m, f) for m in MODES for size in ((10, 14), (3, 2))), (1, 5, 7, 17)) for f in RESIZES),
    case("resize2d of one", lambda b, x: _resized(b, x, (4, 3), "asymmetric", RESIZES[0]), (2, 1, 1, 3)),
)  # fmt: skip


def _quantized(b: Bench, x: Any, rounding: str, scale: Any = 0.3, **options: Any) -> Any:
    return q.quantize(x, b.real(scale), b.zero, out_dtype=b.dtype, rounding=rounding, **options)


TAIL = {"tail_rounding": "AWAY", "tail_block": 8}
FLOATS = {"source": "float32"}
BORDERS = (
    case("quantize TONEAREST", lambda b, x: _quantized(b, x, "TONEAREST"), (3, 17), (5,), **FLOATS),
    case("quantize AWAY", lambda b, x: _quantized(b, x, "AWAY"), (3, 17), **FLOATS),
    case("quantize AWAY float64", lambda b, x: _quantized(b, x, "AWAY", compute_dtype="float64"), (3, 17), **FLOATS),
    case("quantize in blocks", lambda b, x: _quantized(b, x, "TONEAREST", **TAIL), (3, 17), (64,), **FLOATS),
    case("quantize by channel", lambda b, x: _quantized(b, x, "TONEAREST", [0.3, 0.1, 0.7]), (5, 3), **FLOATS),
    case("dequantize", lambda b, x: q.dequantize(x, b.real(0.3), b.zero), *IMAGES),
    case("dequantize in blocks", lambda b, x: q.dequantize(x, b.real(0.3), b.zero, tail_block=8), (3, 17), (64,)),
    case("dequantize by channel", lambda b, x: q.dequantize(x, b.real([0.3, 0.1, 0.7]), b.integer([3, 0, 1])), (5, 3)),
)  # fmt: skip

OPERATORS = (*CONVOLUTIONS, *PRODUCTS, *ELEMENTS, *WINDOWS, *BORDERS)

LARGE = (
    case("conv2d", conv(24, ONE), (1, 14, 14, 96)),
    case("conv2d padded", conv(16, (3, 3), **SAME), (1, 20, 20, 16)),
    case("depthwise", conv(64, (3, 3), groups=64, **SAME), (1, 28, 28, 64)),
    case("conv2d_transpose", transposed(16, (3, 3), strides=(2, 2), **SAME), (1, 10, 10, 16)),
    case("batch_matmul", _matmul, [(2, 64, 64), (2, 64, 64)]),
    case("avg_pool2d", lambda b, x: _pooled(b, x, 2, 1), (1, 17, 17, 64)),
    case("softmax", lambda b, x: _softmax(b, x, "float32"), (64, 257)),
    case("concatenate", lambda b, *xs: _concatenated(b, *xs, axis=-1), [(1, 64, 64, 16), (1, 64, 64, 17)]),
    case("add", lambda b, x, y: q.add(x, y, *_binary(b), compute_dtype="int32", rounding="UPWARD"), [(1, 64, 64, 17), (17,)]),
)  # fmt: skip

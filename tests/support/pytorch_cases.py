"""Cases of PyTorch's elementwise, pooling, joining and resizing operators, with the dialect's call of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from tvm import relax

from autotune_qnn import dialect
from autotune_qnn.dialect import constant
from autotune_qnn.dialect.pytorch import quantize_scalar
from tests.support.dialect import zero
from tests.support.pytorch_tensors import (
    DTYPES,
    ORDERS,
    OperatorCase,
    Quantized,
    Scales,
    avx512,
    bounds,
    channels_last,
    random_scale,
    random_tensor,
    random_zero,
    real,
    torch,
)

Family = Callable[[np.random.Generator, str, str, str, bool], Iterator[OperatorCase]]
"""(rng, engine, dtype, memory order, whether scales make ties) → cases."""

_functional = torch.nn.functional
_quantized = torch.ops.quantized


def _case(name: str, build: Callable[..., Any], inputs: tuple[Quantized, ...], result: Any) -> OperatorCase:
    expected = Quantized(result).nhwc if result.is_quantized else channels_last(result)
    return OperatorCase(name, build, tuple(tensor.nhwc for tensor in inputs), expected)


def _shape(rng: np.random.Generator) -> tuple[int, int, int, int]:
    batch, channels, height, width = (int(rng.integers(1, most)) for most in (3, 90, 9, 9))
    return batch, channels, height, width


def _common(engine: str, dtype: str) -> str:
    """The dialect's engine where QNNPACK has a kernel of its own."""
    return "qnnpack" if engine == "qnnpack" and dtype == "uint8" else "pytorch"


def binary(
    rng: np.random.Generator, engine: str, dtype: str, order: str, ties: bool
) -> Iterator[OperatorCase]:
    """add, add_relu, mul, mul_relu."""
    shape, scales = _shape(rng), Scales.random(rng, ties)
    a = random_tensor(rng, shape, dtype, scales.first, order)
    b = random_tensor(rng, shape, dtype, scales.second, order)
    high = bounds(dtype)[1]
    zo = min(random_zero(rng, dtype), high - 1)  # QNNPACK refuses an empty range behind a relu
    output = (real(scales.output), zero(zo))
    for name, operator, chosen in (
        ("add", dialect.add, _common(engine, dtype)),
        ("mul", dialect.mul, "pytorch"),
    ):
        for suffix in ("", "_relu"):

            def build(x: Any, y: Any, operator: Any = operator, chosen: str = chosen) -> Any:
                return operator(
                    x, y, *a.parameters, *b.parameters, *output, engine=chosen, memory_order=order
                )

            def clipped(x: Any, y: Any, build: Any = build) -> Any:
                return relax.op.clip(build(x, y), zo, high)

            result = getattr(_quantized, name + suffix)(a.tensor, b.tensor, scales.output, zo)
            yield _case(name + suffix, clipped if suffix else build, (a, b), result)


def broadcast(
    rng: np.random.Generator, engine: str, dtype: str, order: str, ties: bool
) -> Iterator[OperatorCase]:
    """Sums of an image and something smaller: PyTorch counts its blocks within runs of elements."""
    if _common(engine, dtype) == "qnnpack":
        return  # it wants equal shapes
    batch, channels, height, width = 2, int(rng.integers(1, 150)), *(int(v) for v in rng.integers(2, 13, 2))
    scales, zo = Scales.random(rng, ties), random_zero(rng, dtype)
    a = random_tensor(rng, (batch, channels, height, width), dtype, scales.first, order)
    for shape in (
        (batch, channels, 1, 1),
        (1, channels, 1, 1),
        (1, 1, 1, 1),
        (batch, 1, height, width),
        (1, channels, height, width),
    ):
        b = random_tensor(rng, shape, dtype, scales.second, order)

        def build(x: Any, y: Any, b: Quantized = b) -> Any:
            output = (real(scales.output), zero(zo))
            return dialect.add(
                x, y, *a.parameters, *b.parameters, *output, engine="pytorch", memory_order=order
            )

        result = _quantized.add(a.tensor, b.tensor, scales.output, zo)
        yield _case(f"add_{'x'.join(map(str, shape))}", build, (a, b), result)


def unary(
    rng: np.random.Generator, engine: str, dtype: str, order: str, ties: bool
) -> Iterator[OperatorCase]:
    """sigmoid, tanh, hardswish, hardsigmoid and leaky_relu."""
    scales = Scales.random(rng, ties)
    x = random_tensor(rng, _shape(rng), dtype, scales.first, order)
    zo, alpha = random_zero(rng, dtype), float(rng.uniform(0.01, 0.3))
    place = {"engine": _common(engine, dtype), "memory_order": order}
    results = {
        "sigmoid": torch.sigmoid(x.tensor),
        "tanh": torch.tanh(x.tensor),
        "hardswish": _quantized.hardswish(x.tensor, scales.output, zo),
        "hardsigmoid": _functional.hardsigmoid(x.tensor),
    }
    if place["engine"] == "pytorch":
        results["sigmoid_scaled"] = _quantized.sigmoid(x.tensor, scales.output, zo)
    for name, result in results.items():
        operator = getattr(dialect, name.removesuffix("_scaled"))

        def build(data: Any, operator: Any = operator, result: Any = result) -> Any:
            return operator(data, *x.parameters, *Quantized(result).parameters, **place)

        yield _case(name, build, (x,), result)

    def leaky(data: Any) -> Any:
        output = real(scales.output), zero(zo)
        return dialect.leaky_relu(
            data, *x.parameters, *output, alpha=alpha, engine="pytorch", memory_order=order
        )

    result = _quantized.leaky_relu(x.tensor, alpha, False, scales.output, zo)
    yield _case("leaky_relu", leaky, (x,), result)


def clamp(
    rng: np.random.Generator, engine: str, dtype: str, order: str, ties: bool
) -> Iterator[OperatorCase]:
    """relu and clamp, as clips at quantized bounds."""
    if engine == "qnnpack" and order == "NHWC":
        return  # PyTorch scrambles channels-last tensors here
    x = random_tensor(rng, _shape(rng), dtype, random_scale(rng), order)
    low, high = float(rng.uniform(-3, 0)), float(rng.uniform(0, 3))
    limits = [int(quantize_scalar(value, x.scale, x.zero_point, dtype)) for value in (low, high)]
    result = torch.clamp(x.tensor, low, high)
    yield _case("clamp", lambda data: relax.op.clip(data, *limits), (x,), result)
    most = bounds(dtype)[1]
    yield _case("relu", lambda data: relax.op.clip(data, x.zero_point, most), (x,), torch.relu(x.tensor))


def borders(
    rng: np.random.Generator, engine: str, dtype: str, order: str, ties: bool
) -> Iterator[OperatorCase]:
    """quantize_per_tensor, per channel too, and dequantize."""
    x = random_tensor(rng, _shape(rng), dtype, random_scale(rng), order)
    scale, zero_point = x.scale, x.zero_point
    yield _case(
        "dequantize",
        lambda data: dialect.dequantize(data, *x.parameters),
        (x,),
        x.tensor.dequantize(),
    )
    shape = (*x.tensor.shape[:2], 5, 7)
    values = rng.normal(0, 40 * scale, shape)
    if ties:
        values = (rng.integers(-300, 300, shape) + 0.5) * np.float32(scale)
    real_values = torch.from_numpy(values.astype(np.float32)).contiguous(memory_format=ORDERS[order])
    result = torch.quantize_per_tensor(real_values, scale, zero_point, DTYPES[dtype])

    def build(data: Any) -> Any:
        return dialect.quantize(data, real(scale), zero(zero_point), out_dtype=dtype, engine="pytorch")

    yield OperatorCase("quantize_per_tensor", build, (channels_last(real_values),), Quantized(result).nhwc)


def concatenate(
    rng: np.random.Generator, engine: str, dtype: str, order: str, ties: bool
) -> Iterator[OperatorCase]:
    """Along channels, one input in the output's own scale; along height."""
    batch, channels, height, width = _shape(rng)
    scales = Scales.random(rng, ties)
    shape = (batch, channels, height, width)
    a = random_tensor(rng, shape, dtype, scales.first, order)
    b = random_tensor(rng, (batch, int(rng.integers(1, 90)), height, width), dtype, scales.second, order)
    c = random_tensor(rng, shape, dtype, scales.second, order)
    same = (b.scale, b.zero_point)
    other = (scales.output, random_zero(rng, dtype))
    for name, parts, axis, output in (
        ("cat", (a, b), 1, other),
        ("cat_same", (a, b), 1, same),
        ("cat_height", (a, c), 2, other),
    ):

        def build(*data: Any, parts: Any = parts, axis: int = axis, output: Any = output) -> Any:
            return dialect.concatenate(
                relax.Tuple(list(data)),
                relax.Tuple([part.parameters[0] for part in parts]),
                relax.Tuple([part.parameters[1] for part in parts]),
                real(output[0]),
                zero(output[1]),
                axis=3 if axis == 1 else axis - 1,
                engine="pytorch",
                memory_order=_joined_order(parts) if axis == 1 else "NCHW",
            )

        result = _quantized.cat([part.tensor for part in parts], axis, *output)
        yield _case(name, build, parts, result)


def _joined_order(parts: tuple[Quantized, ...]) -> str:
    return "NHWC" if all(part.memory_order == "NHWC" for part in parts) else "NCHW"


def pooling(
    rng: np.random.Generator, engine: str, dtype: str, order: str, ties: bool
) -> Iterator[OperatorCase]:
    """avg_pool2d, adaptive_avg_pool2d and the mean over the image."""
    batch, channels, *_ = _shape(rng)
    height, width = (int(value) for value in rng.integers(3, 13, 2))
    x = random_tensor(rng, (batch, channels, height, width), dtype, random_scale(rng), order)
    chosen = _common(engine, dtype)
    pool, stride = int(rng.integers(2, min(height, width, 6) + 1)), int(rng.integers(1, 4))
    padding, counts_padding = (
        int(rng.integers(0, pool // 2 + 1)),
        bool(rng.integers(2)) or chosen == "qnnpack",
    )

    ceil_mode = chosen == "pytorch" and bool(rng.integers(2))

    def average(data: Any, divisor: int = 0) -> Any:
        return dialect.avg_pool2d(
            data,
            *x.parameters,
            *x.parameters,
            pool_size=(pool, pool),
            strides=(stride, stride),
            padding=(padding,) * 4,
            count_include_pad=counts_padding,
            ceil_mode=ceil_mode,
            engine=chosen,
            memory_order=x.memory_order,
            divisor=divisor,
            **({} if avx512() or chosen == "qnnpack" else {"tail_block": 8}),
        )

    arguments = (x.tensor, pool, stride, padding, ceil_mode, counts_padding)
    yield _case("avg_pool2d", average, (x,), _functional.avg_pool2d(*arguments))
    if chosen == "pytorch":
        yield _case(
            "avg_pool2d_divisor", lambda data: average(data, 5), (x,), _functional.avg_pool2d(*arguments, 5)
        )
    yield from adaptive_averages(x, chosen)
    yield from means(x, chosen)


def adaptive_averages(x: Quantized, engine: str) -> Iterator[OperatorCase]:
    """adaptive_avg_pool2d to one pixel and to several, QNNPACK's where windows of one size divide the image."""
    height, width = x.tensor.shape[2:]
    for size in ((1, 1), (3, 2)):
        if engine == "qnnpack" and (height % size[0] or width % size[1]):
            continue

        def adaptive(data: Any, size: tuple[int, int] = size) -> Any:
            return dialect.adaptive_avg_pool2d(
                data, *x.parameters, output_size=size, engine=engine, memory_order=x.memory_order
            )

        result = _functional.adaptive_avg_pool2d(x.tensor, size)
        yield _case(f"adaptive_avg_pool2d_{size[0]}", adaptive, (x,), result)


def means(x: Quantized, engine: str) -> Iterator[OperatorCase]:
    """The mean over height and width, with and without these axes in the result."""
    for keep in (False, True):

        def mean(data: Any, keep: bool = keep) -> Any:
            return dialect.mean(
                data,
                *x.parameters,
                *x.parameters,
                axis=(1, 2),
                keepdims=keep,
                engine=engine,
                memory_order="NCHW" if x.tensor.is_contiguous() else "NHWC",
            )

        yield _case(f"mean_{keep}", mean, (x,), torch.mean(x.tensor, (2, 3), keepdim=keep))


def long_means(
    rng: np.random.Generator, engine: str, dtype: str, order: str, ties: bool
) -> Iterator[OperatorCase]:
    """Means over images so large that PyTorch's float sum has several levels."""
    height, width = (int(value) for value in rng.integers(14, 40, 2))
    channels = int(rng.choice([1, 3, 6, 15, 16, 17, 64, 80, 130]))
    x = random_tensor(rng, (2, channels, height, width), dtype, random_scale(rng), order)
    yield from means(x, _common(engine, dtype))


def resize(
    rng: np.random.Generator, engine: str, dtype: str, order: str, ties: bool
) -> Iterator[OperatorCase]:
    """Bilinear interpolation to a size and by a factor."""
    x = random_tensor(rng, _shape(rng), dtype, random_scale(rng), order)
    size = tuple(int(value) for value in rng.integers(1, 17, 2))
    factors = tuple(float(value) for value in rng.uniform(0.7, 2.7, 2))
    image = x.tensor.shape[2:]
    scaled = tuple(max(int(extent * factor), 1) for extent, factor in zip(image, factors, strict=True))
    cases: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
        ("half_pixel", {"size": size, "align_corners": False}, {"size": size}),
        ("align_corners", {"size": size, "align_corners": True}, {"size": size}),
    ]
    if all(int(extent * factor) >= 1 for extent, factor in zip(image, factors, strict=True)):
        asked = {"scale_factor": factors, "align_corners": False}
        cases.append(("half_pixel", asked, {"size": scaled, "scales": factors}))
    if image[0] * image[1] == 1:
        return  # PyTorch scrambles channels-last images of one pixel
    for mode, arguments, attributes in cases:

        def build(data: Any, mode: str = mode, attributes: Any = attributes) -> Any:
            return dialect.resize2d(
                data,
                *x.parameters,
                coordinate_transformation_mode=mode,
                engine="pytorch",
                memory_order=x.memory_order,
                **attributes,
            )

        result = _functional.interpolate(x.tensor, mode="bilinear", **arguments)
        yield _case(f"bilinear_{mode}_{'scales' in attributes}", build, (x,), result)


def batch_norm(
    rng: np.random.Generator, engine: str, dtype: str, order: str, ties: bool
) -> Iterator[OperatorCase]:
    """batch_norm2d and batch_norm2d_relu."""
    shape, scales = _shape(rng), Scales.random(rng, ties)
    x = random_tensor(rng, shape, dtype, scales.first, order)
    zo = random_zero(rng, dtype)
    gamma, beta, mean = (rng.normal(size=shape[1]).astype(np.float32) for _ in range(3))
    variance = rng.uniform(0.1, 2, shape[1]).astype(np.float32)
    if ties:  # halves of the output's scale on both sides
        gamma, mean, variance = (np.full_like(gamma, value) for value in (1, 0, 1))
        beta = (rng.integers(-20, 20, shape[1]) * 0.5 * scales.output).astype(np.float32)
    epsilon = 0.0 if ties else 1e-5

    def build(data: Any) -> Any:
        vectors = [constant(value) for value in (gamma, beta, mean, variance)]
        return dialect.batch_norm(
            data, *vectors, *x.parameters, real(scales.output), zero(zo), epsilon=epsilon
        )

    vectors = [torch.from_numpy(value) for value in (gamma, beta, mean, variance)]
    result = _quantized.batch_norm2d(x.tensor, *vectors, epsilon, scales.output, zo)
    yield _case("batch_norm2d", build, (x,), result)
    high = bounds(dtype)[1]
    result = _quantized.batch_norm2d_relu(x.tensor, *vectors, epsilon, scales.output, zo)
    yield _case("batch_norm2d_relu", lambda data: relax.op.clip(build(data), zo, high), (x,), result)


FAMILIES: dict[str, Family] = {
    "binary": binary,
    "broadcast": broadcast,
    "unary": unary,
    "clamp": clamp,
    "borders": borders,
    "concatenate": concatenate,
    "pooling": pooling,
    "long_means": long_means,
    "resize": resize,
    "batch_norm": batch_norm,
}

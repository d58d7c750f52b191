"""Plain Relax operators on stored integers and on floats, and float operators between dequantize and quantize."""
# ruff: noqa: E501 - one case a line

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm import relax

from autotune_qnn import dialect as q
from autotune_qnn.dialect import constant
from tests.support.kernel_cases import Bench, case

op = relax.op
SHAPE = (2, 6, 7, 17)
ANY = {"dtypes": ("int8", "uint8", "float32")}
LAYOUT = {"layout": "NHWC"}
INDICES = constant([2, 0, -1, 2], "int32")


def _constant(b: Bench, shape: tuple[int, ...]) -> Any:
    if b.dtype != "float32":
        return b.array(shape)
    return constant(b.rng.normal(0, 9, shape), "float32")


def _split(b: Bench, x: Any) -> Any:
    parts = b(op.split(x, [5, 8], axis=3))
    first, last = b(parts[0]), b(parts[2])
    return relax.Tuple([op.maximum(first, op.strided_slice(last, [3], [0], [5])), last, x])


def _halves(b: Bench, x: Any) -> Any:
    parts = b(op.split(x, 2, axis=1))
    return relax.Tuple([b(parts[1]), b(parts[0])])


def _several_outputs(b: Bench, x: Any) -> Any:
    """An output that is used inside as well, twice returned, beside the input itself."""
    y = b(op.nn.relu(x))
    return relax.Tuple([y, x, op.nn.max_pool2d(y, (3, 3), (2, 2), (1, 1, 1, 1), **LAYOUT), y])


def _nearest(b: Bench, x: Any) -> Any:
    return op.image.resize2d(
        x,
        (9, 5),
        method="nearest_neighbor",
        coordinate_transformation_mode="half_pixel",
        rounding_method="round_prefer_floor",
        **LAYOUT,
    )


def _after_kernel(b: Bench, x: Any) -> Any:
    """Plain operators between kernels, on tensors that are stored moved."""
    y = b.convolved(x, 17, padding=(1, 1, 1, 1))
    y = b.rescaled(y, ("float32", "TONEAREST", "", 0, "channel"), 153)
    pooled = b(op.nn.max_pool2d(y, (3, 3), (2, 2), (1, 1, 1, 1), **LAYOUT))
    lowest = float(b.lowest.value.numpy())
    padded = b(op.nn.pad(pooled, (0, 0, 1, 0, 0, 1, 0, 0), "constant", lowest))
    joined = b(op.concat([padded, b.array((2, 4, 1, 17))], axis=2))
    return relax.Tuple([joined, op.argmax(joined, axis=3), op.reshape(padded, (2, -1))])


PLAIN = tuple(
    case(name, build, SHAPE, **ANY)
    for name, build in {
        "max_pool2d padded": lambda b, x: op.nn.max_pool2d(x, (3, 3), (2, 2), (1, 1, 1, 1), **LAYOUT),
        "max_pool2d": lambda b, x: op.nn.max_pool2d(x, (2, 2), (2, 2), (0, 0, 0, 0), **LAYOUT),
        "max_pool2d ceil": lambda b, x: op.nn.max_pool2d(x, (3, 2), (2, 2), ceil_mode=True, **LAYOUT),
        "pad": lambda b, x: op.nn.pad(x, (0, 0, 1, 2, 0, 3, 0, 0), "constant", 3.0),
        "pad channels": lambda b, x: op.nn.pad(x, (0, 0, 1, 2, 0, 3, 2, 1), "constant", 7.0),
        "reshape": lambda b, x: op.reshape(x, (2, -1)),
        "flatten": lambda b, x: op.flatten(x),
        "permute_dims": lambda b, x: op.permute_dims(x, (0, 3, 1, 2)),
        "permute_dims all": lambda b, x: op.permute_dims(x, (3, 1, 0, 2)),
        "strided_slice": lambda b, x: op.strided_slice(x, (1, 2), (1, 0), (5, 7), (1, 2)),
        "strided_slice backward": lambda b, x: op.strided_slice(x, (3,), (16,), (-18,), (-1,)),
        "take": lambda b, x: op.take(x, INDICES, axis=2),
        "take channels": lambda b, x: op.take(x, INDICES, axis=3),
        "concat": lambda b, x: op.concat([x, x, _constant(b, SHAPE)], axis=3),
        "concat rows": lambda b, x: op.concat([_constant(b, SHAPE), x], axis=1),
        "stack": lambda b, x: op.stack([x, _constant(b, SHAPE)], axis=1),
        "squeeze": lambda b, x: op.squeeze(b(op.expand_dims(x, [1]))),
        "expand_dims": lambda b, x: op.expand_dims(x, [0, 2]),
        "argmax": lambda b, x: op.argmax(x, axis=3),
        "argmax kept": lambda b, x: op.argmax(x, axis=1, keepdims=True),
        "argmin": lambda b, x: op.astype(b(op.argmin(x, axis=2)), "int32"),
        "max": lambda b, x: op.max(x, axis=[1, 2], keepdims=True),
        "min": lambda b, x: op.min(x, axis=3),
        "maximum": lambda b, x: op.maximum(x, _constant(b, SHAPE)),
        "minimum": lambda b, x: op.minimum(x, _constant(b, (17,))),
        "clip": lambda b, x: op.clip(x, 5, 60),
        "relu": lambda b, x: op.nn.relu(x),
        "broadcast_to": lambda b, x: op.broadcast_to(b(op.reshape(x, (2, 1, 6, 7, 17))), (2, 3, 6, 7, 17)),
        "resize2d nearest": _nearest,
        "tile": lambda b, x: op.tile(x, (1, 2, 1, 1)),
        "repeat": lambda b, x: op.repeat(x, 2, axis=1),
        "flip": lambda b, x: op.flip(x, axis=2),
        "identity": lambda b, x: x,
        "split": _split,
        "split in half": _halves,
        "several outputs": _several_outputs,
    }.items()
)


def _between(build: Callable[[Bench, Any], Any], quantized: bool = True) -> Callable[[Bench, Any], Any]:
    def chain(b: Bench, x: Any) -> Any:
        y = b(build(b, b(q.dequantize(x, b.real(0.1), b.zero))))
        return q.quantize(y, b.real(0.2), b.zero, out_dtype=b.dtype, rounding="TONEAREST") if quantized else y

    return chain


FLOAT = (
    case("float products and sums", _between(lambda b, y: op.add(b(op.multiply(y, b.real(0.37))), b.real(0.11)), False), SHAPE),
    case("float square and sum", _between(lambda b, y: op.subtract(b(op.square(y)), y), False), SHAPE),
    case("float divide", _between(lambda b, y: op.divide(y, b.real(0.3)), False), SHAPE),
    case("float sqrt", _between(lambda b, y: op.sqrt(b(op.abs(y))), False), SHAPE),
    case("float leakyrelu", _between(lambda b, y: op.nn.leakyrelu(y, 0.1), False), SHAPE),
    case("float relu", _between(lambda b, y: op.nn.relu(y)), SHAPE),
    case("float maximum", _between(lambda b, y: op.maximum(y, b.real(0.3))), SHAPE),
    case("float clip", _between(lambda b, y: op.clip(y, -1.0, 3.5)), SHAPE),
    case("float sigmoid", _between(lambda b, y: op.sigmoid(y)), SHAPE),
    case("float tanh", _between(lambda b, y: op.tanh(y)), SHAPE),
    case("float softmax", _between(lambda b, y: op.nn.softmax(y, axis=-1)), SHAPE),
    case("float avg_pool2d", _between(lambda b, y: op.nn.avg_pool2d(y, (2, 2), (2, 2), layout="NHWC")), SHAPE),
)  # fmt: skip

CHAINS = (case("plain operators between kernels", _after_kernel, SHAPE),)

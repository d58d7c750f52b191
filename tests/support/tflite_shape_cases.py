"""Random uses of the operators that only move elements."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tests.support.tflite_branches import Branches
from tests.support.tflite_writer import constant


def concatenation(branches: Branches) -> None:
    same = branches.dtype == "int8" or branches.rng.random() < 0.4
    axis = branches.choice(1, 3, -1)
    shapes = [[1, 5, 7, 3] for _ in range(branches.choice(2, 3))]
    for shape in shapes:
        shape[axis] = int(branches.rng.integers(1, 6))
    scale, zero = branches.scale(), branches.zero()
    operands = [
        branches.quantized(shape, **({"scale": scale, "zero_point": zero} if same else {}))[0]
        for shape in shapes
    ]
    total = np.concatenate([np.zeros(shape) for shape in shapes], axis=axis).shape
    output = branches.output(total, branches.dtype, scale, zero)
    branches.operator("CONCATENATION", operands, [output], "ConcatenationOptions", axis=axis)


def _moved(branches: Branches, data: int, result: np.ndarray) -> int:
    """An output of the shape of `result` and the parameters of `data`."""
    tensor = branches.tensors[data]
    return branches.output(result.shape, branches.dtype, tensor.scale, tensor.zero_point)


def pad(branches: Branches) -> None:
    data, *_ = branches.quantized((1, 4, 5, 3))
    widths = branches.rng.integers(0, 3, (4, 2)).astype("int32")
    operand = branches.tensor(constant(widths))
    branches.operator(
        "PAD", [data, operand], [_moved(branches, data, np.pad(branches.feeds[-1], widths))], "PadOptions"
    )


def pad_v2(branches: Branches) -> None:
    data, scale, zero = branches.quantized((1, 4, 5, 3))
    widths = branches.rng.integers(0, 3, (4, 2)).astype("int32")
    operand = branches.tensor(constant(widths))
    fill = branches.tensor(constant(branches.integers((1,)), scale=scale, zero_point=zero))
    result = _moved(branches, data, np.pad(branches.feeds[-1], widths))
    branches.operator("PADV2", [data, operand, fill], [result], "PadV2Options")


def reshape(branches: Branches) -> None:
    data, *_ = branches.quantized((1, 4, 5, 6))
    shape = branches.choice([1, 120], [2, -1, 6], [1, 20, 6, 1], [-1])
    operand = branches.tensor(constant(np.array(shape, "int32")))
    result = _moved(branches, data, branches.feeds[-1].reshape(shape))
    branches.operator("RESHAPE", [data, operand], [result], "ReshapeOptions", newShape=list(shape))


def squeeze(branches: Branches) -> None:
    data, *_ = branches.quantized((1, 4, 1, 6))
    axes = branches.choice([0], [2], [-2], [0, 2], [])
    result = branches.feeds[-1].squeeze(tuple(axes) if axes else None)
    branches.operator("SQUEEZE", [data], [_moved(branches, data, result)], "SqueezeOptions", squeezeDims=axes)


def expand_dims(branches: Branches) -> None:
    data, *_ = branches.quantized((3, 4, 6))
    axis = branches.choice(0, 1, 3, -1)
    operand = branches.tensor(constant(np.array([axis], "int32")))
    result = np.expand_dims(branches.feeds[-1], axis)
    branches.operator("EXPAND_DIMS", [data, operand], [_moved(branches, data, result)], "ExpandDimsOptions")


def transpose(branches: Branches) -> None:
    data, *_ = branches.quantized((2, 3, 4, 5))
    order = branches.rng.permutation(4).astype("int32")
    operand = branches.tensor(constant(order))
    result = branches.feeds[-1].transpose(order)
    branches.operator("TRANSPOSE", [data, operand], [_moved(branches, data, result)], "TransposeOptions")


def split(branches: Branches) -> None:
    data, *_ = branches.quantized((2, 6, 4, 6))
    axis, count = branches.choice(1, 3, -1), branches.choice(2, 3)
    operand = branches.tensor(constant(np.array(axis, "int32")))
    parts = [_moved(branches, data, part) for part in np.split(branches.feeds[-1], count, axis)]
    branches.operator("SPLIT", [operand, data], parts, "SplitOptions", numSplits=count)


def slice_(branches: Branches) -> None:
    data, *_ = branches.quantized((2, 6, 4, 6))
    begin, size = np.array([0, 1, 2, 0], "int32"), np.array([2, branches.choice(3, -1), 1, 4], "int32")
    operands = [data, branches.tensor(constant(begin)), branches.tensor(constant(size))]
    result = branches.feeds[-1][:, 1 : (None if size[1] == -1 else 4), 2:3, :4]
    branches.operator("SLICE", operands, [_moved(branches, data, result)], "SliceOptions")


def strided_slice(branches: Branches) -> None:
    data, *_ = branches.quantized((2, 6, 4, 6))
    feed = branches.feeds[-1]
    begin, end, strides, masks, result = branches.choice(
        ([0, 1, 0, 0], [2, 5, 4, 6], [1, 2, 1, 3], {}, feed[:, 1:5:2, :, ::3]),
        ([0, -1, 0, 0], [2, -5, 4, 6], [1, -1, 1, 1], {}, feed[:, -1:-5:-1]),
        ([0, 5, 0, 0], [2, 0, 4, 6], [1, -2, 1, 1], {"endMask": 2}, feed[:, 5::-2]),
        ([0, 2, 1, 1], [1, 3, 4, -1], [1, 1, 1, 1], {"shrinkAxisMask": 2}, feed[0:1, 2, 1:, 1:-1]),
        ([1, 0, 0, 3], [2, 99, 4, 6], [1, 1, 1, 1], {"beginMask": 8, "endMask": 4}, feed[1:2]),
    )
    operands = [data, *(branches.tensor(constant(np.array(v, "int32"))) for v in (begin, end, strides))]
    branches.operator(
        "STRIDED_SLICE", operands, [_moved(branches, data, result)], "StridedSliceOptions", **masks
    )


def pack(branches: Branches) -> None:
    scale, zero = branches.scale(), branches.zero()
    count, axis = branches.choice(2, 3), branches.choice(0, 1, 2, -1)
    operands = [branches.quantized((3, 5), scale=scale, zero_point=zero)[0] for _ in range(count)]
    result = np.stack(branches.feeds[-count:], axis)
    output = _moved(branches, operands[0], result)
    branches.operator("PACK", operands, [output], "PackOptions", valuesCount=count, axis=axis)


def unpack(branches: Branches) -> None:
    data, *_ = branches.quantized((3, 4, 5))
    axis = branches.choice(0, 1, -1)
    feed = branches.feeds[-1]
    parts = [_moved(branches, data, feed.take(i, axis)) for i in range(feed.shape[axis])]
    branches.operator("UNPACK", [data], parts, "UnpackOptions", num=feed.shape[axis], axis=axis)


SHAPE_CASES: dict[str, Callable[[Branches], None]] = {
    "concatenation": concatenation,
    "pad": pad,
    "pad_v2": pad_v2,
    "reshape": reshape,
    "squeeze": squeeze,
    "expand_dims": expand_dims,
    "transpose": transpose,
    "split": split,
    "slice": slice_,
    "strided_slice": strided_slice,
    "pack": pack,
    "unpack": unpack,
}

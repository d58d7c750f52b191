"""SLICE and STRIDED_SLICE."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tvm import relax

from autotune_qnn.errors import ModelError
from autotune_qnn.frontends.base import Array
from autotune_qnn.frontends.rules import Expr, UnsupportedUseError, shape_of
from autotune_qnn.frontends.tflite.conversion import Conversion, rule
from autotune_qnn.frontends.tflite.graph import GraphOperator
from autotune_qnn.frontends.tflite.options import StridedSliceOptions


@dataclass(frozen=True, slots=True)
class Cut:
    """What is taken of one axis: elements begin, begin + stride, … before `end`; `drop` removes the axis."""

    begin: int
    end: int
    stride: int
    drop: bool = False

    def indices(self) -> range:
        """The elements taken."""
        return range(self.begin, self.end, self.stride)

    def whole(self, extent: int) -> bool:
        """Whether all of an axis is taken as it is."""
        return self.indices() == range(extent) and not self.drop


def strided_cuts(
    shape: tuple[int, ...], begin: list[int], end: list[int], strides: list[int], options: StridedSliceOptions
) -> list[Cut]:
    """One cut an axis by STRIDED_SLICE's rules: negative indices count from the end, masked ones are open."""
    if options.ellipsis_mask or options.new_axis_mask or options.offset:
        raise UnsupportedUseError("ellipsis, new axes or end offsets")
    if not len(begin) == len(end) == len(strides) <= len(shape) or 0 in strides:
        raise ModelError(f"STRIDED_SLICE from {begin} to {end} by {strides} does not fit shape {shape}")
    cuts = []
    for axis, extent in enumerate(shape):
        if axis >= len(begin):
            cuts.append(Cut(0, extent, 1))
            continue
        bit, stride = 1 << axis, strides[axis]
        low, high = (0, extent) if stride > 0 else (-1, extent - 1)

        def place(value: int, extent: int = extent, low: int = low, high: int = high) -> int:
            return min(max(value + extent if value < 0 else value, low), high)

        first = place(begin[axis])
        if options.begin_mask & bit:
            first = 0 if stride > 0 else extent - 1
        if options.shrink_axis_mask & bit:
            if not 0 <= first < extent:
                raise ModelError(f"STRIDED_SLICE takes element {begin[axis]} of {extent}")
            cuts.append(Cut(first, first + 1, 1, drop=True))
            continue
        last = place(end[axis])
        if options.end_mask & bit:
            last = extent if stride > 0 else -1
        cuts.append(Cut(first, last, stride))
    return cuts


def apply_cuts(conversion: Conversion, value: Expr, cuts: list[Cut]) -> Expr:
    """The cuts as one strided slice, a gather for each backward axis, and a reshape for dropped axes."""
    shape = shape_of(value)
    counts = [len(cut.indices()) for cut in cuts]
    if 0 in counts:
        raise ModelError(f"a slice of a tensor of shape {shape} is empty")
    forward = [
        axis for axis, cut in enumerate(cuts) if cut.stride > 0 and cut.indices() != range(shape[axis])
    ]
    if forward:
        ends = [cuts[axis].indices()[-1] + 1 for axis in forward]
        begins, steps = [cuts[axis].begin for axis in forward], [cuts[axis].stride for axis in forward]
        value = conversion.emit(relax.op.strided_slice(value, forward, begins, ends, steps))
    for axis, cut in enumerate(cuts):
        if cut.stride < 0:
            indices = relax.const(np.array(cut.indices(), "int32"), "int32")
            value = conversion.emit(relax.op.take(value, indices, axis=axis))
    if any(cut.drop for cut in cuts):
        kept = tuple(count for count, cut in zip(counts, cuts, strict=True) if not cut.drop)
        value = relax.op.reshape(value, kept)
    return value


def fold_strided_slice(conversion: Conversion, operator: GraphOperator, data: Array) -> Array:
    """STRIDED_SLICE of a value known at import."""
    cuts = strided_cuts(data.shape, *_bounds(conversion, operator), operator.option(StridedSliceOptions))
    for axis, cut in enumerate(cuts):
        data = np.take(data, list(cut.indices()), axis=axis)
    return data.reshape([data.shape[axis] for axis, cut in enumerate(cuts) if not cut.drop])


def _bounds(conversion: Conversion, operator: GraphOperator) -> tuple[list[int], list[int], list[int]]:
    begin, end, strides = (
        conversion.integers(conversion.operand(operator, position), what)
        for position, what in ((1, "begin"), (2, "end"), (3, "strides"))
    )
    return begin, end, strides


def _data(conversion: Conversion, operator: GraphOperator) -> tuple[Expr, tuple[int, ...], tuple[int, ...]]:
    """What is cut, its shape, and the shape that the file declares where that has as many axes."""
    data = conversion.operand(operator, 0)
    value = conversion.value(data)
    shape = shape_of(value)
    return value, shape, data.shape if len(data.shape) == len(shape) else shape


def _open_batch(
    conversion: Conversion, declared: tuple[int, ...], shape: tuple[int, ...], cuts: list[Cut]
) -> list[Cut]:
    """A cut that takes the whole batch of the file takes the whole batch that was chosen."""
    if conversion.batch != 1 and cuts and cuts[0].whole(declared[0]):
        return [Cut(0, shape[0], 1), *cuts[1:]]
    return cuts


@rule("STRIDED_SLICE")
def convert_strided_slice(conversion: Conversion, operator: GraphOperator) -> list[Expr]:
    """Constant bounds only."""
    value, shape, declared = _data(conversion, operator)
    cuts = strided_cuts(declared, *_bounds(conversion, operator), operator.option(StridedSliceOptions))
    return [apply_cuts(conversion, value, _open_batch(conversion, declared, shape, cuts))]


@rule("SLICE")
def convert_slice(conversion: Conversion, operator: GraphOperator) -> list[Expr]:
    """Constant begin and size; a size of -1 reaches the end."""
    value, shape, declared = _data(conversion, operator)
    begin = conversion.integers(conversion.operand(operator, 1), "begin")
    size = conversion.integers(conversion.operand(operator, 2), "size")
    if not len(begin) == len(size) == len(shape):
        raise ModelError(f"SLICE from {begin} of {size} does not fit shape {shape}")
    cuts = []
    for extent, first, count in zip(declared, begin, size, strict=True):
        last = extent if count == -1 else first + count
        if not 0 <= first < last <= extent:
            raise ModelError(f"SLICE from {begin} of {size} does not fit shape {declared}")
        cuts.append(Cut(first, last, 1))
    return [apply_cuts(conversion, value, _open_batch(conversion, declared, shape, cuts))]

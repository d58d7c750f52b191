"""Anchor rules of PyTorch's averages (formulas: `dialect.pytorch_pooling`)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import te, tirx

from autotune_qnn.dialect.adaptive_pool import adaptive_windows
from autotune_qnn.dialect.pytorch_pooling import adaptive_factor, qnnpack_factor
from autotune_qnn.kernels.anchors.pooling import MOST_SUMMED, Means, Windows
from autotune_qnn.kernels.anchors.pytorch_mean import RowSums
from autotune_qnn.kernels.anchors.registry import Anchor, AnchorCall, anchor
from autotune_qnn.kernels.elements.pytorch import Dequantized, Quantization
from autotune_qnn.kernels.fixed_point import once
from autotune_qnn.kernels.lane import Lane, int32
from autotune_qnn.kernels.operand import LaneFunction, Operand
from autotune_qnn.kernels.templates.reduction import ReductionTemplate
from autotune_qnn.kernels.templates.sums import SumsTemplate

_ENGINES = ("pytorch", "qnnpack")
_ONE = np.float32(1)


class _Totals:
    """Exact sums over windows, and per-window numbers as the formulas take them."""

    def __init__(self, call: AnchorCall, sums: Any, inside: NDArray[np.int64]) -> None:
        """`sums` gives the sum of stored values at an index, `inside` (H, W) how many values each adds up."""
        self.call, self._sums = call, sums
        self.zero_point = int(call.scalar(2))
        self._centre = self.number(-inside * (call.activation().offset + self.zero_point), np.int32)
        self._origin = self.number(-inside * call.activation().offset, np.int32)

    def number(self, values: NDArray[Any], dtype: Any) -> Callable[[Sequence[Any]], Any]:
        """A function from an element's index to its window's value; `values` is (H, W)."""
        values = np.asarray(values, dtype)
        if (values == values.flat[0]).all():
            place = self.call.inputs.real if dtype is np.float32 else self.call.inputs.integer
            scalar = place(values.flat[0])
            return lambda _index: scalar
        array = self.call.inputs.constant(values, "windows")
        return lambda index: array[index[1], index[2]]

    def centred(self, index: Sequence[Any]) -> Any:
        """f4 of the sum of q − z."""
        return (self._sums(*index) + self._centre(index)).astype("float32")

    def raw(self, index: Sequence[Any]) -> Any:
        """f4 of the sum of q."""
        return (self._sums(*index) + self._origin(index)).astype("float32")


def _by_channel(
    call: AnchorCall, value: Callable[[Sequence[Any]], Any], body: Any, tail: Any
) -> LaneFunction:
    """Lanes of `body` for channels in whole blocks of tail_block, of `tail` for the others.

    Both take `value`'s expression and the index, and return a lane.
    """
    block = call.attributes.integer("tail_block")
    boundary = call.shape[-1] // block * block
    if boundary == call.shape[-1]:
        return lambda index: body(value(index), index)
    if boundary == 0:
        return lambda index: tail(value(index), index)

    def mixed(known: Any, index: Sequence[Any]) -> Any:
        lanes = (body(known, index), tail(known, index))
        return tirx.Select(index[-1] < int32(boundary), *(lane.finished(call.inputs) for lane in lanes))

    return lambda index: Lane.of(once(value(index), lambda known: mixed(known, index)), call.dtype)


def _output(call: AnchorCall) -> Quantization:
    return Quantization(call, call.operands[1], call.operands[2])


def _multiplied(call: AnchorCall, totals: _Totals, factors: NDArray[np.float32]) -> LaneFunction:
    """rint(f4(total)·factor) + z."""
    output, factor = _output(call), totals.number(factors, np.float32)
    return lambda index: output.rounded(totals.centred(index) * factor(index), small=True)


def _shifted(call: AnchorCall, totals: _Totals, factors: NDArray[np.float32]) -> LaneFunction:
    """rint(f4(total)·factor + z)."""
    output, factor = _output(call), totals.number(factors, np.float32)
    return lambda index: output.shifted(totals.centred(index) * factor(index), small=True)


@anchor("qnn.avg_pool2d", engines=_ENGINES)
def avg_pool2d(call: AnchorCall) -> Anchor:
    """Averages over windows."""
    windows = Windows(call)
    totals = _Totals(call, windows.sums(call.activation().tensor), windows.inside)
    divisor = call.attributes.integer("divisor")
    counts = np.full_like(windows.counts, divisor) if divisor else windows.counts
    lane = _average(call, totals, counts)
    return Anchor(lane, "avg_pool2d", windows.name, 0, windows.template())


def _average(call: AnchorCall, totals: _Totals, counts: NDArray[np.int64]) -> LaneFunction:
    if call.attributes.string("engine") == "qnnpack":
        pool = call.attributes.integers("pool_size", 2)
        factor = qnnpack_factor(call.scalar(1), pool[0] * pool[1])
        return _multiplied(call, totals, np.full_like(counts, factor, np.float32))
    factors = _ONE / counts.astype(np.float32)
    if call.attributes.string("memory_order") == "NCHW":
        return _shifted(call, totals, factors)
    output = _output(call)
    factor, inverse = (totals.number(values, np.float32) for values in (factors, _ONE / (_ONE / factors)))
    return _by_channel(
        call,
        totals.centred,
        lambda value, index: output.rounded(value * factor(index), small=True),
        lambda value, index: output.shifted(value * inverse(index), small=True),
    )


@anchor("qnn.adaptive_avg_pool2d", engines=_ENGINES)
def adaptive_avg_pool2d(call: AnchorCall) -> Anchor:
    """Averages over as many windows as the output has elements."""
    data = call.activation()
    spans = [
        adaptive_windows(extent, count)
        for extent, count in zip(data.shape[1:3], call.shape[1:3], strict=True)
    ]
    heights, widths = (np.diff(span, axis=1).reshape(-1) for span in spans)
    counts = heights[:, None] * widths[None, :]
    if int(counts.max()) > MOST_SUMMED:
        raise call.unsupported(f"a window of {counts.max()} elements")
    totals = _Totals(call, _adaptive_sums(call, data, spans), counts)
    lane = _adaptive(call, totals, heights[:, None], widths[None, :])
    name = "x".join(map(str, data.shape)) + f"_to{call.shape[1]}x{call.shape[2]}"
    return Anchor(lane, "adaptive_avg_pool2d", name, 0, ReductionTemplate.factory(call.shape))


def _adaptive_sums(call: AnchorCall, data: Operand, spans: list[list[tuple[int, int]]]) -> Any:
    """int32 sums of stored values; windows along an axis that differ in extent are read as far as the largest."""
    longest = [max(end - start for start, end in span) for span in spans]
    row, column = (
        te.reduce_axis((0, extent), name) for extent, name in zip(longest, ("kh", "kw"), strict=True)
    )
    starts = [_starts(call, span) for span in spans]
    ends = [_ends(call, span) for span in spans]

    def total(n: Any, y: Any, x: Any, c: Any) -> Any:
        source_y, source_x = starts[0](y) + row, starts[1](x) + column
        bounds = [
            source < end(place)
            for source, end, place in zip((source_y, source_x), ends, (y, x), strict=True)
            if end is not None
        ]
        if not bounds:
            return te.sum(data.tensor[n, source_y, source_x, c].astype("int32"), axis=[row, column])
        inside = tirx.all(*bounds)
        value = tirx.if_then_else(inside, data.tensor[n, source_y, source_x, c].astype("int32"), int32(0))
        return te.sum(value, axis=[row, column])

    return te.compute(call.shape, total, name="total")


def _starts(call: AnchorCall, span: list[tuple[int, int]]) -> Callable[[Any], Any]:
    """Where each window starts: a product where the steps are equal."""
    starts = [start for start, _ in span]
    step = starts[1] - starts[0] if len(starts) > 1 else 0
    if starts == [place * step for place in range(len(starts))]:
        return lambda place: place * step
    array = call.inputs.constant(np.array(starts, np.int32), "starts")
    return lambda place: array[place]


def _ends(call: AnchorCall, span: list[tuple[int, int]]) -> Callable[[Any], Any] | None:
    """Where each window ends, or None where all have one extent."""
    if len({end - start for start, end in span}) == 1:
        return None
    array = call.inputs.constant(np.array([end for _, end in span], np.int32), "ends")
    return lambda place: array[place]


def _adaptive(
    call: AnchorCall, totals: _Totals, heights: NDArray[np.int64], widths: NDArray[np.int64]
) -> LaneFunction:
    counts, output = heights * widths, _output(call)
    if call.attributes.string("engine") == "qnnpack":
        factor = qnnpack_factor(call.scalar(1), int(counts.flat[0]))
        return _multiplied(call, totals, np.full_like(counts, factor, np.float32))
    if call.attributes.string("memory_order") == "NCHW":
        raw_factor = totals.number(adaptive_factor(heights, widths), np.float32)
        return lambda index: output.complete(totals.raw(index) * raw_factor(index), small=True)
    inverse = totals.number(_ONE / (_ONE / (_ONE / counts.astype(np.float32))), np.float32)
    return _by_channel(
        call,
        totals.centred,
        lambda value, index: output.fused(value, inverse(index), small=True),
        lambda value, index: output.shifted(value * inverse(index), small=True),
    )


@anchor("qnn.mean", engines=_ENGINES)
def mean(call: AnchorCall) -> Anchor:
    """Means over whole images."""
    means = Means.of(call)
    engine, order = call.attributes.string("engine"), call.attributes.string("memory_order")
    if engine == "pytorch" and order == "NHWC":
        return _float_mean(call, means)
    count = means.count
    template = ReductionTemplate.factory(call.shape)
    totals = _Totals(call, means.sums(call), np.full((1, 1), count, np.int64))
    if engine == "qnnpack":
        lane = _multiplied(call, totals, np.full((1, 1), qnnpack_factor(call.scalar(1), count)))
    else:
        output, divisor = _output(call), call.inputs.real(count)

        def lane(index: Sequence[Any]) -> Lane:
            return output.shifted(totals.centred(index) / divisor, small=True)

    return Anchor(lane, "mean", means.name, 0, template)


def _float_mean(call: AnchorCall, means: Means) -> Anchor:
    """The float32 mean of the dequantized image, quantized."""
    data, image = call.activation(), call.activation().shape[1:-1]
    real = Dequantized(call, data, *call.operands[1:3])
    output, divisor = _output(call), call.inputs.real(means.count)

    def row(n: Any, place: Any, c: Any) -> Any:
        places: list[Any] = []
        for extent in reversed(image):
            places.insert(0, tirx.floormod(place, extent))
            place = tirx.floordiv(place, extent)
        return real.scalar(real.integer((n, *places, c)))

    rows = RowSums(data.shape[0], data.shape[-1])
    total = rows.sums(row, means.count, call.attributes.integer("tail_block"))

    def lane(index: Sequence[Any]) -> Lane:
        return output.fused(total(index[0], index[-1]) / divisor, output.inverse, small=True)

    template = SumsTemplate.factory(data.shape[-1], tuple(rows.stages), math.prod(data.shape))
    return Anchor(lane, "mean", means.name, 0, template)

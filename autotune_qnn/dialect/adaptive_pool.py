"""qnn.adaptive_avg_pool2d: PyTorch's average over as many windows as the output is to have elements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from autotune_qnn.dialect import pytorch_pooling
from autotune_qnn.dialect.attributes import Attributes
from autotune_qnn.dialect.engine import Engine, checked_engine, engine_attributes
from autotune_qnn.dialect.numeric import Array, integer, scalar
from autotune_qnn.dialect.registry import OperatorSpec, make_call, reference, register
from autotune_qnn.dialect.view import CallView, TensorView

CHANNEL_BLOCK = 8
"""Channels that one step of PyTorch's adaptive pooling takes."""


def adaptive_avg_pool2d(
    data: Any,
    scale: Any,
    zero_point: Any,
    *,
    output_size: Sequence[int],
    engine: str = Engine.PYTORCH,
    tail_block: int | None = None,
    memory_order: str = "NHWC",
) -> Any:
    """Averages of (N, H, W, C) over `output_size` (height, width) windows, in the same float64 scale.

    Window i of m along an extent e reaches from i·e//m up to, not including, the next integer at or above
    (i + 1)·e/m. Arithmetic: `dialect.pytorch_pooling`. Engine "qnnpack" needs extents that the output's divide.
    """
    attrs = {
        "output_size": tuple(output_size),
        **engine_attributes(str(engine), memory_order, tail_block, CHANNEL_BLOCK),
    }
    return make_call("qnn.adaptive_avg_pool2d", [data, scale, zero_point], attrs)


def _infer_adaptive_avg_pool2d(view: CallView) -> TensorView:
    data = view.data("data", rank=4)
    view.choice("engine", (Engine.PYTORCH.value, Engine.QNNPACK.value))
    engine = checked_engine(view, Engine.PYTORCH, Engine.QNNPACK)
    view.quantization("scale", "zero_point", data.dtype, ("float64",))
    size = view.positive("output_size", 2)
    image = data.shape[1:3]
    if engine is Engine.QNNPACK and (image[0] % size[0] or image[1] % size[1]):
        raise view.error("attribute output_size", f"{list(size)} must divide the image's {list(image)}")
    return TensorView((data.shape[0], *size, data.shape[3]), data.dtype)


register(OperatorSpec("qnn.adaptive_avg_pool2d", ("data", "scale", "zero_point"), _infer_adaptive_avg_pool2d))


def adaptive_windows(extent: int, count: int) -> list[tuple[int, int]]:
    """Start and end of each of `count` windows along an extent."""
    return [(place * extent // count, -(-(place + 1) * extent // count)) for place in range(count)]


@reference("qnn.adaptive_avg_pool2d")
def adaptive_avg_pool2d_reference(attrs: Attributes, data: Array, scale: Array, zero_point: Array) -> Array:
    """Pool as `adaptive_avg_pool2d` states."""
    zero = integer(zero_point)
    centred = data.astype(np.int64) - zero
    height, width = attrs.integers("output_size", 2)
    rows, columns = adaptive_windows(data.shape[1], height), adaptive_windows(data.shape[2], width)
    totals = np.empty((data.shape[0], height, width, data.shape[3]), np.int64)
    for y, (top, bottom) in enumerate(rows):
        for x, (left, right) in enumerate(columns):
            totals[:, y, x] = centred[:, top:bottom, left:right].sum((1, 2))
    extents = np.diff(rows, axis=1).reshape(-1), np.diff(columns, axis=1).reshape(-1)
    return pytorch_pooling.adaptive_average(attrs, totals, extents, scalar(scale), zero, str(data.dtype))

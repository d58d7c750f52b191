"""Where the windows of a convolution or a pool lie on the image."""

from __future__ import annotations

from autotune_qnn.errors import ModelError
from autotune_qnn.frontends.tflite.options import Padding

Pads = tuple[int, int, int, int]
"""top, left, bottom, right"""


def window_padding(
    padding: Padding,
    image: tuple[int, int],
    window: tuple[int, int],
    strides: tuple[int, int],
    dilation: tuple[int, int] = (1, 1),
) -> Pads:
    """The explicit padding of SAME or VALID; with SAME an odd element goes to the bottom and the right.

    All pairs are (height, width). ModelError where a stride, dilation or window is not positive, or does not
    fit.
    """
    if min(*window, *strides, *dilation) < 1:
        raise ModelError(f"window {window}, strides {strides} and dilation {dilation} must be positive")
    before, after = [], []
    for extent, size, stride, step in zip(image, window, strides, dilation, strict=True):
        covered = (size - 1) * step + 1
        if padding is Padding.VALID:
            if covered > extent:
                raise ModelError(f"a window of {covered} does not fit an image of {extent} without padding")
            total = 0
        else:
            total = max((-(-extent // stride) - 1) * stride + covered - extent, 0)
        before.append(total // 2)
        after.append(total - total // 2)
    return before[0], before[1], after[0], after[1]


def transpose_padding(
    image: tuple[int, int],
    window: tuple[int, int],
    strides: tuple[int, int],
    output: tuple[int, int],
    padding: Padding,
) -> tuple[Pads, tuple[int, int]]:
    """What a transposed convolution crops from its full result, and what it appends at the bottom and the
    right.

    The full result has (image − 1)·stride + window elements an axis.
    """
    if min(*window, *strides, *output) < 1:
        raise ModelError(f"window {window}, strides {strides} and output {output} must be positive")
    before, after, extra = [], [], []
    for extent, size, stride, wanted in zip(image, window, strides, output, strict=True):
        full = (extent - 1) * stride + size
        if padding is Padding.VALID:
            begin = 0
        else:
            begin = max((-(-wanted // stride) - 1) * stride + size - wanted, 0) // 2
        rest = full - begin - wanted
        before.append(begin)
        after.append(max(rest, 0))
        extra.append(max(-rest, 0))
    return (before[0], before[1], after[0], after[1]), (extra[0], extra[1])

"""Sums that are not exact: products added in pairs in 16 bits that saturate, then in 32 bits.

What x86's vpmaddubsw does to a depthwise convolution. Taps of the window stand in row-major order; taps 0 and 1 are a
pair, 2 and 3 the next, and the last of an odd number is alone. Each sum of a pair's products of stored data and stored
weights (zero points are no part of it) is cut to int16.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from autotune_qnn.dialect.numeric import Array

EXACT = "EXACT"
PAIRS_INT16 = "PAIRS_INT16"
ACCUMULATIONS = (EXACT, PAIRS_INT16)
"""Values of the attribute `accumulation` of qnn.conv2d."""

LOW, HIGH = -32768, 32767
_HIGHEST_DATA = 255


def pairs_can_saturate(kernel: Array) -> bool:
    """Whether some uint8 data make the sum of some pair leave int16; int8 kernel (O, ...), a row a channel."""
    taps = kernel.reshape(kernel.shape[0], -1).astype(np.int64)
    pairs = np.pad(taps, ((0, 0), (0, taps.shape[1] % 2))).reshape(kernel.shape[0], -1, 2)
    highest = np.maximum(pairs, 0).sum(2).max(initial=0) * _HIGHEST_DATA
    lowest = np.minimum(pairs, 0).sum(2).min(initial=0) * _HIGHEST_DATA
    return bool(highest > HIGH or lowest < LOW)


def lost_in_pairs(window: Callable[[int], Array], kernel: Array) -> Array | int:
    """What has to be added to the exact sums, int32 (N, OH, OW, O); zero where nothing is lost.

    window(tap) is the uint8 data (N, OH, OW, O) under a tap, kernel int8 (O, KH, KW, 1).
    """
    taps = kernel.reshape(kernel.shape[0], -1).astype(np.int32)
    lost: Any = 0
    for tap in range(0, taps.shape[1] - 1, 2):
        pair = taps[:, tap : tap + 2]
        if pairs_can_saturate(pair):
            both = window(tap).astype(np.int32) * pair[:, 0] + window(tap + 1).astype(np.int32) * pair[:, 1]
            lost = lost + (np.clip(both, LOW, HIGH) - both)
    return lost

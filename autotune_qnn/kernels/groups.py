"""Joining the groups of a grouped convolution until one group's outputs fill whole vectors.

A group with fewer outputs than a vector has lanes leaves the other lanes idle. Several groups as one, whose kernel
holds its zero point wherever an output does not see an input, do the same work with all lanes in use.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autotune_qnn.kernels.geometry import ConvGeometry


def _joined(geometry: ConvGeometry, lanes: int) -> int:
    """How many groups become one: the fewest whose outputs fill vectors, or all."""
    counts = [count for count in range(1, geometry.groups) if geometry.groups % count == 0]
    return next((count for count in counts if count * geometry.group_outputs % lanes == 0), geometry.groups)


def join_groups(
    geometry: ConvGeometry, weights: NDArray[Any], zero_point: NDArray[Any], lanes: int
) -> tuple[ConvGeometry, NDArray[Any]]:
    """The same convolution with fewer groups, and its OHWI weights; `zero_point` is one or one for each output."""
    count = _joined(geometry, lanes)
    if count == 1:
        return geometry, weights
    depth, outputs = geometry.group_channels, geometry.group_outputs
    filler = np.broadcast_to(zero_point.reshape(-1), (geometry.out_channels,)).astype(weights.dtype)
    wide = np.empty((*weights.shape[:3], count * depth), weights.dtype)
    wide[:] = filler.reshape(-1, 1, 1, 1)
    for group in range(geometry.groups):
        own = slice(group * outputs, (group + 1) * outputs)
        first = group % count * depth
        wide[own, :, :, first : first + depth] = weights[own]
    return replace(geometry, groups=geometry.groups // count), wide

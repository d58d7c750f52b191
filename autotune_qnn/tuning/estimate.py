"""An estimate of a kernel's speed from its features alone, before anything was measured.

A tile of accumulators is summed up, then turned into outputs; the processor looks far enough ahead to begin with the
next tile's sums while outputs of a short tile are still being computed, and not for a long one:

    tile   = sums + outputs - min(sums, outputs, OVERLAP) + steps of the loop + spilled registers
    sums   = instructions x max(1, loads an instruction x LOAD, LATENCY / accumulators)
    kernel = tiles x tile + bytes into the first cache / 64 + bytes into the second / 64

in cycles of no particular processor: it ranks schedules of one task, and measurements correct it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from autotune_qnn.tuning.features import NAMES

Vector = npt.NDArray[np.float64]

_LATENCY = 5.0
_LOAD = 0.9
_OUTPUT = 8.0
_OVERLAP = 80.0
_REGISTERS = 28
_LINE = 64.0
_PLACE = {name: place for place, name in enumerate(NAMES)}


def estimate(rows: Vector) -> Vector:
    """The base-2 logarithm of speed, up to a constant of the task, of each row of features (`features.NAMES`); zeros
    for rows of another width.
    """
    if rows.ndim != 2 or rows.shape[1] != len(NAMES):
        return np.zeros(len(rows))
    accumulators = np.maximum(1.0, _column(rows, "hot_accumulators"))
    tiles = np.maximum(1.0, _count(rows, "hot_outside"))
    loads = _column(rows, "hot_loads_per_step")
    each = np.maximum(np.maximum(1.0, _LOAD * loads), _LATENCY / accumulators)
    sums = _count(rows, "hot_steps") / tiles * each
    outputs = _OUTPUT * _count(rows, "other_steps") / tiles
    tile = sums + outputs - np.minimum(np.minimum(sums, outputs), _OVERLAP)
    tile += _count(rows, "hot_reduction") + np.maximum(0.0, accumulators - _REGISTERS)
    traffic = (_count(rows, "hot_traffic_32k") + _count(rows, "hot_traffic_512k")) / _LINE
    return -np.log2(np.maximum(1.0, tiles * tile + traffic))


def _column(rows: Vector, name: str) -> Vector:
    return np.asarray(rows[:, _PLACE[name]], dtype=np.float64)


def _count(rows: Vector, name: str) -> Vector:
    """A feature that is stored as log2(1 + count), as the count."""
    return np.exp2(_column(rows, name)) - 1.0


def derived(rows: Vector) -> Vector:
    """Features with the estimate and figures of one tile beside them, as trees do not divide; rows of another width
    stay as they are.
    """
    if rows.ndim != 2 or rows.shape[1] != len(NAMES):
        return rows
    accumulators = np.maximum(1.0, _column(rows, "hot_accumulators"))
    tiles = np.maximum(1.0, _count(rows, "hot_outside"))
    sums, outputs = _count(rows, "hot_steps") / tiles, _count(rows, "other_steps") / tiles
    figures: Sequence[Vector] = (sums, outputs, sums / accumulators, outputs / accumulators)
    return np.column_stack([rows, estimate(rows), *(np.log2(1.0 + figure) for figure in figures)])

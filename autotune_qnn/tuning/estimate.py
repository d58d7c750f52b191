"""An estimate of a kernel's speed from its features alone, before anything was measured.

A tile of accumulators is summed up, then turned into outputs; the processor looks far enough ahead to begin with the
next tile's sums while outputs of a short tile are still being computed, and not for a long one:

    tile   = sums + outputs - min(sums, outputs, OVERLAP) + TILE + spilled registers
    sums   = instructions x max(1, loads an instruction x LOAD, LATENCY / accumulators)
    kernel = tiles x tile + bytes into the first cache / FIRST + bytes into the second / SECOND

in cycles of no particular processor: it ranks schedules of one task, and measurements correct it. The constants are
those that ranked recorded spaces and tuning logs of convolutions best, rounded; more terms did not rank recordings
better that were left out of the fit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from autotune_qnn.tuning.features import NAMES

Vector = npt.NDArray[np.float64]

_LATENCY = 4.5
_LOAD = 0.95
_OUTPUT = 18.0
_OVERLAP = 30.0
_TILE = 2.0
_REGISTERS = 28
_FIRST = 256.0
_SECOND = 64.0
_PLACE = {name: place for place, name in enumerate(NAMES)}


@dataclass(frozen=True, slots=True)
class _Tiles:
    """What rows of features say of one tile: figures of each row."""

    tiles: Vector
    accumulators: Vector
    sums: Vector
    outputs: Vector
    loads: Vector
    traffic: Vector


def estimate(rows: Vector) -> Vector:
    """The base-2 logarithm of speed, up to a constant of the task, of each row of features (`features.NAMES`); zeros
    for rows of another width.
    """
    return _estimate(_tiles(rows)) if _known(rows) else np.zeros(len(rows))


def derived(rows: Vector) -> Vector:
    """Features with the estimate and figures of one tile beside them, as trees do not divide; rows of another width
    stay as they are.
    """
    if not _known(rows):
        return rows
    found = _tiles(rows)
    figures = (
        found.sums,
        found.outputs,
        found.sums / found.accumulators,
        found.outputs / found.accumulators,
    )
    return np.column_stack([rows, _estimate(found), *(np.log2(1.0 + figure) for figure in figures)])


def _known(rows: Vector) -> bool:
    return rows.ndim == 2 and rows.shape[1] == len(NAMES)


def _tiles(rows: Vector) -> _Tiles:
    tiles = np.maximum(1.0, _count(rows, "hot_outside"))
    return _Tiles(
        tiles,
        np.maximum(1.0, rows[:, _PLACE["hot_accumulators"]]),
        _count(rows, "hot_steps") / tiles,
        _count(rows, "other_steps") / tiles,
        rows[:, _PLACE["hot_loads_per_step"]],
        _count(rows, "hot_traffic_32k") / _FIRST + _count(rows, "hot_traffic_512k") / _SECOND,
    )


def _estimate(found: _Tiles) -> Vector:
    each = np.maximum(np.maximum(1.0, _LOAD * found.loads), _LATENCY / found.accumulators)
    sums, outputs = found.sums * each, _OUTPUT * found.outputs
    tile = sums + outputs - np.minimum(np.minimum(sums, outputs), _OVERLAP) + _TILE
    tile += np.maximum(0.0, found.accumulators - _REGISTERS)
    return np.asarray(-np.log2(np.maximum(1.0, found.tiles * tile + found.traffic)), dtype=np.float64)


def _count(rows: Vector, name: str) -> Vector:
    """A feature that is stored as log2(1 + count), as the count."""
    return np.asarray(np.exp2(rows[:, _PLACE[name]]) - 1.0, dtype=np.float64)

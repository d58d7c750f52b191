"""An estimate of a kernel's speed from its features alone, before anything was measured.

A tile of accumulators is summed up, then turned into outputs; the processor looks ahead, so that most of the shorter
of both passes during the longer:

    tile   = max(sums, outputs) + REST x min(sums, outputs) + SPILL x spilled registers
    sums   = instructions x max(1, loads an instruction x LOAD, LATENCY / accumulators)
    kernel = tiles x tile + bytes into the first cache / FIRST + BEYOND x bytes into the second / SECOND

BEYOND is 0 where all that a kernel's sums read stays in the second cache (2^HELD bytes), however often they read it,
and 1 from twice that on. It tells how many transformed weights and data to keep at a time, as in Winograd's form.

A woven tile's outputs are computed during the next tile's sums, with the accumulators of both in registers:

    tile   = max(sums, outputs and their loads) + WOVEN + SPILL x spilled registers

Every doubling of unrolled code beyond 2^LONG steps takes a little longer. All this is in cycles of no particular
processor: it ranks schedules of one task, and measurements correct it. The constants are those that ranked recorded
spaces of convolutions best, rounded, where those of half of the recordings also ranked the other half.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from autotune_qnn.tuning.features import NAMES

Vector = npt.NDArray[np.float64]

_LATENCY = 4.0
_LOAD = 0.5
_OUTPUT = 26.0
_REST = 0.2
_OPERANDS = 0.5
"""Registers that an operand of a step takes."""
_REGISTERS = 30
_SPILL = 4.0
_WOVEN = 10.0
_WOVEN_LOAD = 0.3
_WOVEN_OUTPUT = 22.0
_WOVEN_REGISTERS = 22
_WOVEN_SPILL = 6.0
_FETCHED_STEP = 0.1
_LONG = 8.5
_CODE = 0.05
_FIRST = 256.0
_SECOND = 64.0
_HELD = 19.75
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
    woven: npt.NDArray[np.bool_]
    fetched: Vector
    code: Vector


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
    accumulators = np.maximum(1.0, rows[:, _PLACE["hot_accumulators"]])
    sums = _count(rows, "hot_steps") / tiles
    return _Tiles(
        tiles,
        accumulators,
        sums,
        _count(rows, "other_steps") / tiles,
        rows[:, _PLACE["hot_loads_per_step"]],
        _count(rows, "hot_traffic_32k") / _FIRST + _beyond(rows) * _count(rows, "hot_traffic_512k") / _SECOND,
        rows[:, _PLACE["hot_woven"]] > 0.0,
        (rows[:, _PLACE["hot_fetched"]] > 0.0) * sums / accumulators,
        np.maximum(0.0, rows[:, _PLACE["code"]] - _LONG),
    )


def _beyond(rows: Vector) -> Vector:
    """How much of the traffic into the second cache there is, from 0, where all that is read stays there, to 1."""
    return np.asarray(np.clip(rows[:, _PLACE["hot_bytes_read"]] - _HELD, 0.0, 1.0), dtype=np.float64)


def _estimate(found: _Tiles) -> Vector:
    tile = np.where(found.woven, _woven(found), _plain(found)) + _FETCHED_STEP * found.fetched
    cycles = np.maximum(1.0, found.tiles * tile + found.traffic)
    return np.asarray(-np.log2(cycles) - _CODE * found.code, dtype=np.float64)


def _sums(found: _Tiles) -> Vector:
    """Cycles of a tile's sums."""
    each = np.maximum(np.maximum(1.0, _LOAD * found.loads), _LATENCY / found.accumulators)
    return np.asarray(found.sums * each, dtype=np.float64)


def _spilled(found: _Tiles, tiles: int, registers: int) -> Vector:
    """Registers that so many tiles' accumulators and a step's operands need beyond those that there are."""
    needed = (tiles + _OPERANDS * found.loads) * found.accumulators
    return np.asarray(np.maximum(0.0, needed - registers), dtype=np.float64)


def _plain(found: _Tiles) -> Vector:
    """Cycles of a tile whose outputs follow its sums."""
    sums, outputs = _sums(found), _OUTPUT * found.outputs
    both = np.maximum(sums, outputs) + _REST * np.minimum(sums, outputs)
    return np.asarray(both + _SPILL * _spilled(found, 1, _REGISTERS), dtype=np.float64)


def _woven(found: _Tiles) -> Vector:
    """Cycles of a tile whose outputs are computed during the next one's sums."""
    outputs = _WOVEN_LOAD * found.sums * found.loads + _WOVEN_OUTPUT * found.outputs
    spilled = _WOVEN_SPILL * _spilled(found, 2, _WOVEN_REGISTERS)
    return np.asarray(np.maximum(_sums(found), outputs) + _WOVEN + spilled, dtype=np.float64)


def _count(rows: Vector, name: str) -> Vector:
    """A feature that is stored as log2(1 + count), as the count."""
    return np.asarray(np.exp2(rows[:, _PLACE[name]]) - 1.0, dtype=np.float64)

"""Gaussian processes: what few measurements say about candidates nearby, and how little about those far off.

Trees need dozens of measurements before they say anything, and rank schedules that are nearly the same nearly the
same: the best of a batch would be one schedule many times. Here every candidate has a spread beside its mean, which
shrinks with every pick close to it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]

_JITTER = 1e-2


def scaled(rows: Vector) -> Vector:
    """Columns that vary, with mean 0 and deviation 1, divided by the root of their number: squared distances are then
    means over columns. Shape (rows, varying columns).
    """
    spread = rows.std(axis=0)
    varying = spread > 1e-6
    if not varying.any():
        return np.zeros((len(rows), 1))
    kept = (rows[:, varying] - rows[:, varying].mean(axis=0)) / spread[varying]
    return np.asarray(kept / np.sqrt(kept.shape[1]), dtype=np.float64)


def placed(candidates: npt.ArrayLike, known: npt.ArrayLike) -> tuple[Vector, Vector]:
    """Rows of both, where there are any, `scaled` together: those of `candidates`, those of `known`."""
    rows = [np.asarray(part, dtype=np.float64) for part in (candidates, known)]
    found = scaled(np.concatenate([part for part in rows if len(part)]))
    return found[: len(rows[0])], found[len(rows[0]) :]


def kernel(first: Vector, second: Vector, length: float) -> Vector:
    """exp(-distance² / 2 length²) between the rows of two matrices."""
    squares = (first**2).sum(axis=1)[:, None] + (second**2).sum(axis=1)[None, :] - 2.0 * first @ second.T
    return np.asarray(np.exp(-np.maximum(squares, 0.0) / (2.0 * length * length)), dtype=np.float64)


def regress(known: Vector, values: Vector, unknown: Vector, length: float, noise: float) -> Vector:
    """The expected values at the rows of `unknown`; `noise` is the variance of `values` relative to their own."""
    mean = float(values.mean())
    weights = np.linalg.solve(kernel(known, known, length) + noise * np.eye(len(known)), values - mean)
    return mean + kernel(unknown, known, length) @ weights


def pick(mean: Vector, places: Vector, known: Vector, length: float, weight: float, count: int) -> list[int]:
    """Which `count` of the candidates at `places` to try: one after the other the largest mean + weight x spread, where
    the spread is what `known` places and those picked before leave open.
    """
    covariance = kernel(places, places, length)
    if len(known):
        cross = kernel(places, known, length)
        own = kernel(known, known, length) + _JITTER * np.eye(len(known))
        covariance = covariance - cross @ np.linalg.solve(own, cross.T)
    score = np.array(mean, dtype=np.float64)
    picked: list[int] = []
    for _ in range(min(count, len(score))):
        spread = np.sqrt(np.maximum(covariance.diagonal(), 0.0))
        best = int(np.argmax(score + weight * spread))
        picked.append(best)
        score[best] = -np.inf
        column = covariance[:, best].copy()
        covariance = covariance - np.outer(column, column) / (column[best] + _JITTER)
    return picked

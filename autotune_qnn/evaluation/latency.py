"""Latency of several runners, measured in turns so that a noisy neighbour hits all of them alike."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from autotune_qnn.host import spin

Array = npt.NDArray[Any]

DIGITS = 5
"""Decimal places that milliseconds are kept with."""

_BUSY_SPREAD = 1.25


class Timed(Protocol):
    """Anything that can time itself: a session, the source framework's runner."""

    def time(self, inputs: Sequence[Array], number: int, repeat: int) -> list[float]:
        """Seconds a run, `repeat` times, each the mean of `number` runs in a row."""
        ...


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds a run over `repeats` measurements, each the mean of `runs_per_repeat` runs in a row."""

    median_ms: float
    mean_ms: float
    p10_ms: float
    p90_ms: float
    min_ms: float
    std_ms: float
    repeats: int
    runs_per_repeat: int

    @classmethod
    def of(cls, seconds: Sequence[float], number: int) -> Latency:
        """Sum up measurements given in seconds a run."""
        milliseconds = np.asarray(seconds, dtype=np.float64) * 1e3
        low, middle, high = (float(value) for value in np.percentile(milliseconds, (10, 50, 90)))
        return cls(
            median_ms=round(middle, DIGITS),
            mean_ms=round(float(milliseconds.mean()), DIGITS),
            p10_ms=round(low, DIGITS),
            p90_ms=round(high, DIGITS),
            min_ms=round(float(milliseconds.min()), DIGITS),
            std_ms=round(float(milliseconds.std()), DIGITS),
            repeats=len(milliseconds),
            runs_per_repeat=number,
        )


@dataclass(frozen=True, slots=True)
class Noise:
    """How busy the machine was: a spin loop of fixed length, timed between the measurements.

    spread: the loop's 90th percentile over its minimum, 1 on a quiet machine; load: the system's load average
    over the last minute before measuring; busy: whether the figures should be read with care.
    """

    spread: float
    load: float
    busy: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """How long to measure: `rounds` of all runners, each at least `min_repeat_ms`, `budget_s` in all."""

    rounds: int = 60
    min_repeat_ms: float = 20.0
    budget_s: float = 60.0
    fewest_rounds: int = 10


def measure(
    runners: Mapping[str, Timed],
    inputs: Sequence[Array],
    plan: Plan,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[dict[str, Latency], Noise]:
    """Time every runner on the same inputs, in turns, the order rotated each round.

    Each turn begins with one run that is not counted, so that none pays for the other's use of the caches.
    """
    load = os.getloadavg()[0]
    numbers = {name: _runs_for(runner, inputs, plan.min_repeat_ms) for name, runner in runners.items()}
    seconds: dict[str, list[float]] = {name: [] for name in runners}
    spins = []
    names = list(runners)
    start = clock()
    for turn in range(plan.rounds):
        if turn >= plan.fewest_rounds and clock() - start > plan.budget_s:
            break
        spins.append(spin())
        for place in range(len(names)):
            name = names[(turn + place) % len(names)]
            runners[name].time(inputs, 1, 1)
            seconds[name] += runners[name].time(inputs, numbers[name], 1)
    latency = {name: Latency.of(values, numbers[name]) for name, values in seconds.items()}
    return latency, _noise(spins, load)


def _runs_for(runner: Timed, inputs: Sequence[Array], min_repeat_ms: float) -> int:
    """How many runs in a row last at least `min_repeat_ms`."""
    runner.time(inputs, 1, 1)
    once = min(runner.time(inputs, 1, 3))
    return max(1, min(10_000, round(min_repeat_ms / 1e3 / max(once, 1e-7) + 0.5)))


def _noise(spins: Sequence[float], load: float) -> Noise:
    high = statistics.quantiles(spins, n=10)[-1] if len(spins) > 1 else spins[0]
    spread = round(high / min(spins), 3)
    return Noise(
        spread=spread, load=round(load, 2), busy=spread > _BUSY_SPREAD or load > (os.cpu_count() or 1)
    )

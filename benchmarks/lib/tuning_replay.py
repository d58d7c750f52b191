"""Searches on recorded measurements: every configuration of some tasks, measured once, searched many times.

Timing noise and the time of building are gone, so that searches can be compared over many seeds. `benchmarks/tuning.py`
is the command line.
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from autotune_qnn.tuning.cost_model import SpeedModel
from autotune_qnn.tuning.search import KnobSearch, batch_size
from benchmarks.lib.recordings import Table
from benchmarks.lib.tuning_tables import table_of

BATCH = 12
MARKS = (4, 8, 16, 32, 64, 128, 256, 512)
NEAR = (0.05, 0.02, 0.01)
_SLOWEST = 20.0
_RANDOM_RUNS = 8
"""Random searches for each search by a cost model: they cost nothing, and one says little."""

Curve = npt.NDArray[np.float64]


class Start(StrEnum):
    """The first schedule of a search: the template's default, or any, so that there is more to find."""

    DEFAULT = "default"
    RANDOM = "random"


@dataclass(frozen=True)
class Search:
    """A way to search: by a cost model (`guided`), which may know recordings of other tasks, or at random."""

    name: str
    guided: bool
    known: Sequence[Table] = ()

    @property
    def runs(self) -> int:
        """Runs for each seed."""
        return 1 if self.guided else _RANDOM_RUNS


def searches(tables: Sequence[Table], known: Sequence[Table]) -> list[Search]:
    """Random search and the cost model, alone and with recordings of other networks where there are any."""
    names = {table.name for table in tables}
    others = [table for table in known if table.name not in names]
    warm = [Search("xgboost, warm", guided=True, known=others)] if others else []
    return [Search("random", guided=False), Search("xgboost", guided=True), *warm]


class _Task:
    """One recorded task at work."""

    def __init__(self, table: Table, model: SpeedModel, how: Search, seed: int, start: Start) -> None:
        self._table = table
        first = table.default
        if start is Start.RANDOM:
            working = [config for config, (_, seconds) in table.rows.items() if math.isfinite(seconds)]
            first = random.Random(seed).choice(working)
        self._search = KnobSearch(
            table.space(),
            first,
            lambda config: table.rows[config][0],
            model.task(table.name),
            seed,
            guided=how.guided,
        )
        self.found: list[float] = []

    def go_on(self, trials: int) -> bool:
        """Measure one batch; whether there was anything left to measure."""
        count = min(batch_size(len(self.found), BATCH), trials - len(self.found))
        picked = self._search.propose(count) if count > 0 else []
        best = self.found[-1] if self.found else math.inf
        for config in picked:
            seconds = self._table.rows[config][1]
            self._search.observe(config, seconds)
            best = min(best, seconds / self._table.best)
            self.found.append(best)
        return bool(picked)


def run(tables: Sequence[Table], how: Search, seed: int, trials: int, start: Start) -> list[list[float]]:
    """A search on all tasks of a network in turns, so that they teach each other: for each task the best seconds after
    each of its trials, relative to the best there is.
    """
    model = SpeedModel(seed=seed)
    for other in how.known:
        model.learn(other.name, other.samples())
    tasks = [_Task(table, model, how, seed, start) for table in tables]
    waiting = list(tasks)
    while waiting:
        waiting = [task for task in waiting if task.go_on(trials)]
    return [task.found for task in tasks]


def trials_to(found: Sequence[float], near: float) -> int:
    """How many trials until within `near` of the best; twice all of them where it never came to that."""
    return next((place + 1 for place, value in enumerate(found) if value <= 1 + near), 2 * len(found))


@dataclass(frozen=True)
class Result:
    """What one search came to on one task: `runs` of several seeds."""

    table: Table
    how: Search
    runs: Sequence[Sequence[float]]

    def curve(self, trials: int) -> Curve:
        """The mean of the runs after each of so many trials; each goes on with its last."""
        whole = [[*found, *[found[-1]] * (trials - len(found))] for found in self.runs]
        return np.asarray(np.minimum(whole, _SLOWEST).mean(axis=0))


def repeated(tables: Sequence[Table], how: Search, seeds: int, trials: int, start: Start) -> list[Result]:
    """One search on every task, with so many seeds (random search with more)."""
    runs = [run(tables, how, seed, trials, start) for seed in range(seeds * how.runs)]
    return [Result(table, how, [found[place] for found in runs]) for place, table in enumerate(tables)]


def compare(
    tables: Sequence[Table], seeds: int, trials: int, known: Sequence[Table], start: Start
) -> list[Result]:
    """Every search on every task, `repeated`."""
    return [
        result for how in searches(tables, known) for result in repeated(tables, how, seeds, trials, start)
    ]


def task_row(result: Result, trials: int) -> dict[str, Any]:
    """One task and search: seconds relative to the best after so many trials (means), and the trials that it takes to
    come near the best (medians).
    """
    table, curve = result.table, result.curve(trials)
    return {
        "task": table.name,
        "configurations": len(table.rows),
        "search": result.how.name,
        "default": round(table.rows[table.default][1] / table.best, 4),
        "best_after": {str(mark): round(float(curve[mark - 1]), 4) for mark in MARKS if mark <= trials},
        "trials_to_within": {
            f"{near:.0%}": statistics.median(trials_to(found, near) for found in result.runs) for near in NEAR
        },
    }


def network_rows(results: Sequence[Result], trials: int) -> list[dict[str, Any]]:
    """The network's latency relative to the best of every task, after so many trials of each: random search, and how
    many trials of each task the cost model takes to come to the same.
    """
    curves: dict[str, Curve] = {}
    for result in results:
        seconds = result.table.weight * result.table.best * result.curve(trials)
        curves[result.how.name] = curves.get(result.how.name, np.zeros(trials)) + seconds
    best = sum(result.table.weight * result.table.best for result in results if not result.how.guided)
    return [
        _network_row(mark, {name: curve / best for name, curve in curves.items()})
        for mark in MARKS
        if mark <= trials
    ]


def _network_row(trials: int, curves: Mapping[str, Curve]) -> dict[str, Any]:
    wanted = curves["random"][trials - 1]
    needed = {
        name: int(np.argmax(curve <= wanted)) + 1 if (curve <= wanted).any() else None
        for name, curve in curves.items()
        if name != "random"
    }
    return {
        "trials": trials,
        "latency": {name: round(float(curve[trials - 1]), 5) for name, curve in curves.items()},
        "needed": needed,
        "share": {name: count and round(count / trials, 3) for name, count in needed.items()},
    }


def markdown(tasks: Sequence[dict[str, Any]], network: Sequence[dict[str, Any]]) -> str:
    """Both kinds of rows as tables."""
    marks = list(tasks[0]["best_after"])
    nears = [f"{near:.0%}" for near in NEAR]
    head = ["task", "configurations", "search", *(f"after {m}" for m in marks), *(f"to {n}" for n in nears)]
    lines = [
        [
            *(row["task"], row["configurations"], row["search"]),
            *(f"{row['best_after'][mark]:.3f}" for mark in marks),
            *(row["trials_to_within"][near] for near in nears),
        ]
        for row in tasks
    ]
    names, guided = list(network[0]["latency"]), list(network[0]["needed"])
    whole = ["trials a task", *names, *(f"{name} needs" for name in guided), *(f"share, {n}" for n in guided)]
    sums = [
        [
            row["trials"],
            *(f"{row['latency'][name]:.4f}" for name in names),
            *(row["needed"][name] for name in guided),
            *(row["share"][name] for name in guided),
        ]
        for row in network
    ]
    return f"{table_of(head, lines)}\n\n{table_of(whole, sums)}"

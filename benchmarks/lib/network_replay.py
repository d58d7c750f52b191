"""A whole network's tuning on recorded measurements: all its tasks share trials and the cost model, as when tuning.

`tuning_replay` compares searches task by task; here the scheduler that tuning has shares the trials out among the
tasks, and what counts is the network's latency, the sum over its tasks of weight x best.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from autotune_qnn.logs import TunerName
from autotune_qnn.tuning.cost_model import SpeedModel
from autotune_qnn.tuning.features import shape_of
from autotune_qnn.tuning.scheduler import ArmState, TaskState, first_share, is_finished, order_tasks
from autotune_qnn.tuning.search import KnobSearch, batch_size
from benchmarks.lib.tuning_replay import BATCH, Table

MARKS = (4, 8, 16, 32, 64)
"""Trials a task."""


class _Task:
    """One recorded task at work."""

    def __init__(self, table: Table, model: SpeedModel, seed: int, *, guided: bool) -> None:
        self.table = table
        self.arm = ArmState(TunerName.AUTOTVM)
        macs = 2.0 ** shape_of(table.rows[table.default][0])[0] - 1.0
        self.state = TaskState(table.name, table.weight, macs, (self.arm,))
        self.search = KnobSearch(
            table.space(),
            table.default,
            lambda config: table.rows[config][0],
            model.task(table.name),
            seed,
            guided=guided,
        )

    @property
    def latency(self) -> float:
        """Seconds that it adds to the network."""
        untuned = self.table.rows[self.table.default][1]
        return self.table.weight * min(untuned, self.state.best)

    def measure(self, count: int) -> int:
        """Measure up to so many configurations; how many there were."""
        picked = self.search.propose(count)
        for config in picked:
            seconds = self.table.rows[config][1]
            self.search.observe(config, seconds)
            self.state.add(self.arm, seconds)
        self.arm.exhausted = not picked
        return len(picked)


def tune(
    tables: Sequence[Table], seed: int, trials: int, others: Sequence[Table], *, guided: bool
) -> list[float]:
    """The network's latency after each trial, relative to the best of every task; a task without a trial runs with its
    default schedule.
    """
    model = SpeedModel(seed=seed)
    for other in others:
        model.learn(other.name, other.samples())
    tasks = {table.name: _Task(table, model, seed, guided=guided) for table in tables}
    best = sum(table.weight * table.best for table in tables)
    first = first_share(trials, len(tables), BATCH)
    found: list[float] = []
    while len(found) < trials:
        waiting = [task.state for task in tasks.values() if not is_finished(task.state, None, None)]
        if not waiting:
            break
        task = tasks[order_tasks(waiting)[0].name]
        count = batch_size(task.arm.trials, BATCH if task.state.trials else min(BATCH, first))
        before = len(task.state.history)
        rest = sum(other.latency for other in tasks.values() if other is not task)
        task.measure(min(count, trials - len(found)))
        found.extend((rest + task.table.weight * seconds) / best for seconds in task.state.history[before:])
    return found


def needed(found: Sequence[float], quality: float) -> float:
    """How many trials until the network is as fast as that; inf where it never was."""
    return next((place + 1 for place, value in enumerate(found) if value <= quality), math.inf)


def compare(tables: Sequence[Table], seeds: int, others: Sequence[Table] = ()) -> list[dict[str, Any]]:
    """One row for so many trials a task: the latency that each search has reached, and how many trials the cost model
    needs for what random search has by then; medians over seeds. With the recordings of `others` also warm.
    """
    marks = [mark * len(tables) for mark in MARKS]
    searches: dict[str, tuple[bool, Sequence[Table]]] = {"random": (False, ()), "xgboost": (True, ())}
    if others:
        searches["xgboost, warm"] = True, others
    runs = {
        name: [tune(tables, seed, marks[-1], known, guided=guided) for seed in range(seeds)]
        for name, (guided, known) in searches.items()
    }
    return [_row(mark, runs) for mark in marks]


def _row(trials: int, runs: Mapping[str, Sequence[Sequence[float]]]) -> dict[str, Any]:
    """What every search has after so many trials."""
    reached = {
        name: statistics.median(run[min(trials, len(run)) - 1] for run in found)
        for name, found in runs.items()
    }
    wanted = reached["random"]
    counts = {name: statistics.median(needed(run, wanted) for run in found) for name, found in runs.items()}
    return {
        "trials": trials,
        "latency": {name: round(value, 5) for name, value in reached.items()},
        "needed": {name: count for name, count in counts.items() if name != "random"},
    }


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as a table."""
    searches = list(rows[0]["latency"])
    guided = list(rows[0]["needed"])
    head = ["trials", *searches, *(f"trials of {name}" for name in guided), *(f"share, {name}" for name in guided)]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        cells = [str(row["trials"]), *(f"{row['latency'][name]:.4f}" for name in searches)]
        cells += [f"{row['needed'][name]:g}" for name in guided]
        cells += [f"{row['needed'][name] / row['trials']:.2f}" for name in guided]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)

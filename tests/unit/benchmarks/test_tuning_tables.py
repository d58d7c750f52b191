"""The tables of benchmarks/tuning.py."""

from __future__ import annotations

import random
from typing import Any

from autotune_qnn.kernels.templates.base import Config, Knob
from benchmarks.lib.recordings import RecordedSpace
from benchmarks.lib.tuning_replay import trials_to
from benchmarks.lib.tuning_tables import PHASES, markdown


def row(search: str, tasks: int, seconds: float, memory: int) -> dict[str, Any]:
    """A run with ten trials a task."""
    return {
        "search": search,
        "tasks": tasks,
        "trials": 10 * tasks,
        "seconds": seconds,
        "trials_per_second": 10 * tasks / seconds,
        "phase_seconds": dict.fromkeys(PHASES, seconds / 4),
        "latency_ms": 2.5,
        "latency_ms_after_trials": {"64": 2.75} if tasks > 4 else {},
        "latency_ms_after_seconds": {"15": 2.625},
        "peak_memory_mb": memory,
    }


def test_tables_show_runs_curves_of_all_tasks_and_growth() -> None:
    title = {"model": "net", "cpu": "cpu", "target": "t", "threads": 1}
    rows = [row("autotvm", 4, 8.0, 500), row("autotvm", 8, 24.0, 540), row("random", 8, 10.0, 400)]
    lines = markdown({**title, "rows": rows}).splitlines()
    assert "| autotvm | 4 | 40 | 8.0 | 5.0 |" in "\n".join(lines)
    after = lines.index("| ms after so many trials | 64 |")
    assert lines[after + 2 : after + 4] == ["| autotvm | 2.75 |", "| random | 2.75 |"]
    growth = next(line for line in lines if line.startswith("| autotvm | 4 to 8 |"))
    assert growth.startswith("| autotvm | 4 to 8 | x2.00 | x3.00 | x0.67 | +25 |")
    assert growth.endswith("| +10.0 |")
    assert not any(line.startswith("| random | 8 to") for line in lines)


def test_one_number_of_tasks_shows_no_growth() -> None:
    title = {"model": "net", "cpu": "cpu", "target": "t", "threads": 1}
    assert "growth" not in markdown({**title, "rows": [row("autotvm", 8, 24.0, 540)]})


def test_trials_to_come_near_the_best_are_counted_from_one() -> None:
    assert trials_to([1.2, 1.04, 1.0], 0.05) == 2
    assert trials_to([1.2, 1.1], 0.05) == 4, "twice all where it never came to that"


def test_a_recorded_space_holds_what_was_recorded_alone() -> None:
    configs = [Config.of(a=value, b=value) for value in range(3)]
    space = RecordedSpace.of((Knob("a", tuple(range(100))), Knob("b", tuple(range(100)))), configs)
    assert len(space) == 3
    assert list(space.enumerate()) == configs
    assert {space.sample(random.Random(seed)) for seed in range(20)} == set(configs)
    assert space.is_valid(configs[1])
    assert not space.is_valid(Config.of(a=1, b=2))

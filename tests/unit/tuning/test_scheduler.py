from __future__ import annotations

import math

import pytest

from autotune_qnn.errors import UsageError
from autotune_qnn.logs import TunerName
from autotune_qnn.tuning.measure import worker_counts
from autotune_qnn.tuning.options import TuneOptions, TunerChoice
from autotune_qnn.tuning.scheduler import (
    ArmState,
    TaskState,
    choose_arm,
    first_share,
    is_finished,
    order_tasks,
)


def task(name: str, *, weight: int = 1, size: float = 1e6, both: bool = False) -> TaskState:
    names = (TunerName.AUTOTVM, TunerName.AUTOSCHEDULER) if both else (TunerName.AUTOTVM,)
    return TaskState(name, weight, size, tuple(ArmState(tuner) for tuner in names))


def run(state: TaskState, *seconds: float, arm: int = 0) -> None:
    for value in seconds:
        state.add(state.arms[arm], value)


def test_untouched_tasks_come_first_heaviest_leading() -> None:
    light, heavy, known = task("light"), task("heavy", weight=5), task("known", size=1e9)
    run(known, 1.0)
    assert [state.name for state in order_tasks([known, light, heavy])] == ["heavy", "light", "known"]


def test_trials_go_where_they_save_most() -> None:
    slow, fast = task("slow"), task("fast")
    run(slow, *[1e-2] * 10)
    run(fast, *[1e-5] * 10)
    assert order_tasks([fast, slow])[0] is slow
    often = task("often", weight=5000)
    run(often, *[1e-5] * 10)
    assert order_tasks([slow, often])[0] is often


def test_recent_savings_count() -> None:
    falling, flat = task("falling"), task("flat")
    run(falling, *[1e-3] * 50, 6e-4, 5e-4)
    run(flat, *[5e-4] * 52)
    assert falling.expected_gain() > 2 * flat.expected_gain()


def test_budgets_of_a_task() -> None:
    state = task("a")
    run(state, 2.0, 1.0, 1.5, 3.0)
    assert state.best == 1.0
    assert is_finished(state, 4, None)
    assert not is_finished(state, 5, None)
    assert is_finished(state, None, 2)
    assert not is_finished(state, None, 3)
    state.arms[0].exhausted = True
    assert is_finished(state, None, None)


def test_a_task_of_which_nothing_works_is_given_up() -> None:
    state = task("a")
    run(state, *[math.inf] * 23)
    assert not is_finished(state, None, None)
    run(state, math.inf)
    assert is_finished(state, None, None)


def test_templates_first_then_a_third_for_sketches() -> None:
    state = task("a", both=True)
    picks: list[TunerName] = []
    for _ in range(60):
        arm = choose_arm(state)
        assert arm is not None
        picks.append(arm.tuner)
        state.add(arm, 1.0)
    assert set(picks[:16]) == {TunerName.AUTOTVM}
    assert picks.count(TunerName.AUTOSCHEDULER) == 20


def test_hopeless_sketches_get_no_more() -> None:
    state = task("a", both=True)
    run(state, *[1.0] * 40)
    run(state, *[1.5] * 15, arm=1)
    assert choose_arm(state) is state.arms[1]
    run(state, 1.5, arm=1)
    assert choose_arm(state) is state.arms[0]
    state.arms[0].exhausted = True
    assert choose_arm(state) is state.arms[1]
    state.arms[1].exhausted = True
    assert choose_arm(state) is None


def test_very_slow_sketches_are_dropped_sooner() -> None:
    state = task("a", both=True)
    run(state, *[1.0] * 40)
    run(state, *[2.5] * 6, arm=1)
    assert choose_arm(state) is state.arms[0]


def test_small_budgets_reach_every_task() -> None:
    assert first_share(1000, 10, 12) == 12
    assert first_share(60, 10, 12) == 3
    assert first_share(3, 10, 12) == 1


@pytest.mark.parametrize(
    "cores, threads, expected",
    [(2, 1, (2, 1)), (2, 2, (2, 2)), (8, 2, (8, 2)), (1, 1, (1, 1)), (2, 4, (2, 2)), (64, 1, (16, 0))],
)
def test_builders_leave_the_cores_of_the_kernels_alone(
    cores: int, threads: int, expected: tuple[int, bool]
) -> None:
    assert worker_counts(cores, threads) == expected


@pytest.mark.parametrize(
    "change",
    [{"trials": -1}, {"early_stopping": 0}, {"timeout": 0.0}, {"timeout": float("nan")}, {"number": 0},
     {"min_repeat_ms": -1.0}, {"threads": 0}, {"trials_per_task": 0}, {"repeat": 1 << 40}],
)  # fmt: skip
def test_senseless_options_are_usage_errors(change: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="must be"):
        TuneOptions(**change)  # type: ignore[arg-type]


def test_choices_name_their_tuners() -> None:
    assert TunerChoice("both").names == (TunerName.AUTOTVM, TunerName.AUTOSCHEDULER)
    assert TunerChoice("autotvm").names == (TunerName.AUTOTVM,)

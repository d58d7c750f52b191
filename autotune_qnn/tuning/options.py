"""What a user may choose about a tuning run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from autotune_qnn.errors import UsageError
from autotune_qnn.logs import TunerName


class TunerChoice(StrEnum):
    """The value of --tuner."""

    AUTOTVM = "autotvm"
    AUTOSCHEDULER = "autoscheduler"
    BOTH = "both"

    @property
    def names(self) -> tuple[TunerName, ...]:
        """The searches that it stands for, in the order in which they start."""
        if self is TunerChoice.BOTH:
            return (TunerName.AUTOTVM, TunerName.AUTOSCHEDULER)
        return (TunerName(self.value),)


@dataclass(frozen=True, slots=True)
class TuneOptions:
    """Budgets and measurement settings of one run. Raises UsageError for values that make no sense.

    `trials` is the budget of all tasks together and `trials_per_task` of each; trials that the log already
    holds count towards both. `early_stopping` ends a task after so many trials without a better one, `time_budget`
    the search after so many seconds. `timeout` is in seconds, for each build and for each measurement. A measurement
    runs the kernel `number` times a repeat, or more often until a repeat lasts `min_repeat_ms`; the minimum over the
    repeats is what counts, and they end when the smallest five agree within one per cent, after `repeat` at the
    latest (twice as many while the machine is busy). Candidates three times slower than the task's best get three
    repeats. Without `guided` templates are searched at random, which only benchmarks want.
    """

    tuner: TunerChoice = TunerChoice.BOTH
    trials: int = 1000
    trials_per_task: int | None = None
    early_stopping: int | None = None
    timeout: float = 20.0
    number: int = 1
    repeat: int = 30
    min_repeat_ms: float = 1.0
    threads: int = 1
    seed: int = 0
    batch: int = 12
    guided: bool = True
    time_budget: float | None = None

    def __post_init__(self) -> None:
        for name, value, low in (
            ("--trials", self.trials, 0),
            ("--trials-per-task", self.trials_per_task, 1),
            ("--early-stopping", self.early_stopping, 1),
            ("--number", self.number, 1),
            ("--repeat", self.repeat, 1),
            ("--threads", self.threads, 1),
            ("--seed", self.seed, 0),
            ("batch", self.batch, 1),
        ):
            if value is not None and not low <= value < 1 << 31:
                bound = f"at least {low}" if value < low else f"less than {1 << 31}"
                raise UsageError(f"{name} is {value}; it must be {bound}")
        if not (math.isfinite(self.timeout) and self.timeout > 0):
            raise UsageError(f"--timeout is {self.timeout}; it must be a positive number of seconds")
        if self.time_budget is not None and not (math.isfinite(self.time_budget) and self.time_budget > 0):
            raise UsageError(f"--time-budget is {self.time_budget}; it must be a positive number of seconds")
        if not (math.isfinite(self.min_repeat_ms) and self.min_repeat_ms >= 0):
            raise UsageError(f"--min-repeat-ms is {self.min_repeat_ms}; it must be 0 or more milliseconds")
        if self.min_repeat_ms >= 1e3 * self.timeout:
            raise UsageError(
                f"--min-repeat-ms {self.min_repeat_ms} leaves no repeat the time to end: --timeout is {self.timeout} s"
            )

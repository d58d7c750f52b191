"""Which task gets the next trials: knows no TVM, only counts and seconds.

The model's latency is the sum over tasks of weight × best latency, so that the next trials belong where they
are expected to save most: weight × max(what the last trials saved each, what a task of few trials may still
hide). Tasks without any trial come first, the heaviest of them first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from autotune_qnn.logs import TunerName

_WINDOW = 24
_OPTIMISM = 0.25
_SKETCH_SHARE = 1 / 3
_TEMPLATE_FIRST = 16
_HOPELESS = ((6, 2.0), (16, 1.3))
_FAILURES_ONLY = 24


@dataclass
class ArmState:
    """One search of one task: what it measured (`trials`), has under way (`pending`) and found (`best`).

    A `baseline` measures the default schedule and nothing else.
    """

    tuner: TunerName
    baseline: bool = False
    trials: int = 0
    pending: int = 0
    best: float = math.inf
    exhausted: bool = False


@dataclass
class TaskState:
    """A task's progress. `history` holds the best latency (s) after each trial; `elsewhere` counts trials of the same
    task in other logs, whose leaders are among the first candidates here.
    """

    name: str
    weight: int
    size: float
    arms: tuple[ArmState, ...]
    elsewhere: int = 0
    history: list[float] = field(default_factory=list)
    pending: int = 0
    stale: int = 0

    @property
    def trials(self) -> int:
        """Trials that ended."""
        return len(self.history)

    @property
    def best(self) -> float:
        """The best latency so far in seconds, inf without one."""
        return self.history[-1] if self.history else math.inf

    def add(self, arm: ArmState, seconds: float) -> None:
        """Account for a trial that ended; inf for a failure."""
        arm.trials += 1
        arm.best = min(arm.best, seconds)
        self.stale = 0 if seconds < self.best else self.stale + 1
        self.history.append(min(self.best, seconds))

    def expected_gain(self) -> float:
        """Seconds of the model's latency that a trial here may save."""
        begun = self.trials + self.pending
        if not begun:
            return math.inf
        if not math.isfinite(self.best):
            return self.weight * self.size * 1e-10 / begun
        past = self.history[max(0, self.trials - _WINDOW)]
        saved = (past - self.best) / min(self.trials, _WINDOW) if math.isfinite(past) else 0.0
        return self.weight * max(saved, _OPTIMISM * self.best / (begun + self.elsewhere))


def choose_arm(task: TaskState) -> ArmState | None:
    """The task's search to go on with: the template first, sketches for a third of the trials after that.

    Sketches that stay far behind the template after a fair chance get no more. None when every search is
    exhausted.
    """
    usable = [arm for arm in task.arms if not arm.exhausted]
    if not usable:
        return None
    chosen = usable[0]
    if len(usable) > 1 and not chosen.baseline:
        template, sketch = usable[0], usable[1]
        begun = sketch.trials + sketch.pending
        total = begun + template.trials + template.pending
        hopeless = any(
            sketch.trials >= trials and sketch.best > factor * template.best for trials, factor in _HOPELESS
        )
        due = template.trials + template.pending >= _TEMPLATE_FIRST and begun < _SKETCH_SHARE * total
        if due and not hopeless:
            chosen = sketch
    return chosen


def order_tasks(tasks: Sequence[TaskState]) -> list[TaskState]:
    """Tasks by what a trial may save, most first; untouched ones lead, by weight × size."""
    return sorted(tasks, key=lambda task: (-task.expected_gain(), -task.weight * task.size))


def is_finished(task: TaskState, trials_per_task: int | None, early_stopping: int | None) -> bool:
    """Whether a task's own budgets are used up, or nothing of many trials ever worked."""
    if all(arm.exhausted for arm in task.arms):
        return True
    if task.trials >= _FAILURES_ONLY and not math.isfinite(task.best):
        return True
    if trials_per_task is not None and task.trials + task.pending >= trials_per_task:
        return True
    return early_stopping is not None and task.stale >= early_stopping


def first_share(trials_left: int, tasks: int, batch: int) -> int:
    """How many trials a task gets at first, so that a small budget still reaches every task."""
    return max(1, min(batch, trials_left // max(1, 2 * tasks)))

"""What a tuning run did."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from autotune_qnn.logs import LogStore, Status, TrialRecord
from autotune_qnn.tuning.protocols import Task
from autotune_qnn.tuning.warm import WarmSummary


class StopReason(StrEnum):
    """Why a run ended."""

    BUDGET = "budget"
    FINISHED = "finished"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class TaskSummary:
    """One task: all trials in the log, how many of them failed, and the best latency (s, inf without)."""

    name: str
    key: str
    kind: str
    weight: int
    trials: int
    failures: int
    best_secs: float


@dataclass(frozen=True, slots=True)
class Phases:
    """Seconds of a run by phase: making candidates, training, building (of all builders together), measuring,
    verifying outputs (of which those of candidates are part of measuring), and comparing leaders at the end. They
    overlap, so that their sum is no duration.
    """

    sampling: float = 0.0
    model: float = 0.0
    building: float = 0.0
    measuring: float = 0.0
    verifying: float = 0.0
    confirming: float = 0.0


@dataclass(frozen=True, slots=True)
class TuneSummary:
    """A run: trials measured now, trials found in the log, failures by kind (now), and every task. `busy` counts
    trials that were measured while the machine was busy.
    """

    tasks: tuple[TaskSummary, ...]
    measured: int
    resumed: int
    failures: tuple[tuple[Status, int], ...]
    seconds: float
    reason: StopReason
    phases: Phases = field(default_factory=Phases)
    warm: WarmSummary = field(default_factory=WarmSummary)
    busy: int = 0

    @property
    def interrupted(self) -> bool:
        """Whether a signal ended the run."""
        return self.reason is StopReason.INTERRUPTED

    @property
    def trials_per_second(self) -> float:
        """Trials measured a second, 0 when there were none."""
        return self.measured / self.seconds if self.seconds > 0 else 0.0

    @property
    def estimated_secs(self) -> float:
        """The sum of weight × best latency over the tasks that have one."""
        return sum(task.weight * task.best_secs for task in self.tasks if math.isfinite(task.best_secs))


def summarize_task(task: Task, store: LogStore) -> TaskSummary:
    """A task's summary from the log."""
    records = store.records(task.key)
    best = store.best(task.key)
    return TaskSummary(
        name=task.name,
        key=task.key,
        kind=task.kind,
        weight=task.weight,
        trials=len(records),
        failures=sum(record.status is not Status.OK for record in records),
        best_secs=best.seconds if best else math.inf,
    )


def summarize(
    tasks: Sequence[Task],
    store: LogStore,
    measured: Iterable[TrialRecord],
    *,
    resumed: int,
    seconds: float,
    reason: StopReason,
    phases: Phases,
    warm: WarmSummary,
    busy: int,
) -> TuneSummary:
    """The summary of a run that measured these records."""
    records = list(measured)
    failures = Counter(record.status for record in records if record.status is not Status.OK)
    return TuneSummary(
        tasks=tuple(summarize_task(task, store) for task in tasks),
        measured=len(records),
        resumed=resumed,
        failures=tuple(sorted(failures.items())),
        seconds=seconds,
        reason=reason,
        phases=phases,
        warm=warm,
        busy=busy,
    )

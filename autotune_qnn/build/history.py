"""From the records of a log to schedules: the best record of each task that applies, replayed on its kernel."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from autotune_qnn.engines.relax import TuningTask
from autotune_qnn.logs import LogStore, TrialRecord
from autotune_qnn.logs.pool import RecordPool
from autotune_qnn.tuning.replay import replay
from autotune_qnn.tuning.trust import TraceChecker

History = Callable[[TuningTask], Sequence[TrialRecord]]
"""From a task to its good records, the one to build with first."""

_TRIED = 8
_LOGGER = logging.getLogger(__name__)


def no_history(task: TuningTask) -> Sequence[TrialRecord]:
    """The history of a model that was never tuned: every task gets its default schedule."""
    del task
    return ()


class LoggedHistory:
    """The history of a model's own log, where there is one, and of other logs that hold the same tasks. Records of
    another kind of CPU than the one built for are set aside where a task has a default schedule.
    """

    def __init__(self, store: LogStore | None, pool: RecordPool | None) -> None:
        """Without a pool `store` has to be of this machine."""
        self._store = store
        self._pool = pool
        self._own_counts = store is not None and (pool is None or pool.alike(store))

    def __call__(self, task: TuningTask) -> Sequence[TrialRecord]:
        """The records of a task to build with, the first to be tried first."""
        if task.template() is None:
            return self.known(task)
        own = self._own(task) if self._own_counts else ()
        return own if self._pool is None else self._pool.to_build(task.key, own)

    def known(self, task: TuningTask) -> Sequence[TrialRecord]:
        """The records of a task from whatever CPU."""
        own = self._own(task)
        return own if self._pool is None else self._pool.ranked(task.key, own)

    def set_aside(self, tasks: Iterable[TuningTask]) -> int:
        """How many tasks have records, but of CPUs of another kind only, and a default schedule for that reason."""
        return sum(bool(self.known(task)) and not self(task) for task in tasks)

    def _own(self, task: TuningTask) -> Sequence[TrialRecord]:
        return () if self._store is None else self._store.ranked(task.key)


def scheduled_by(history: History, checker: TraceChecker) -> Callable[[TuningTask], Any | None]:
    """A function from a task to its module with the best recorded schedule that applies.

    The checker tries each trace in a process of its own first, as a log may come from anywhere. A record that
    does not apply (a log edited by hand, or of another version of the kernels) is passed over with a warning;
    a task without any that does gets None, and counts as a fallback.
    """

    def schedule(task: TuningTask) -> Any | None:
        for record in history(task)[:_TRIED]:
            if checker.accepts(record, task.mod):
                return replay(record, task.mod).mod
            _LOGGER.warning("%s; the next best schedule is used", checker.rejected[-1])
        return None

    return schedule

"""From the records of a log to schedules: the best record of each task that applies, replayed on its kernel."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from autotune_qnn.engines.relax import TuningTask
from autotune_qnn.logs import LogStore, TrialRecord
from autotune_qnn.logs.pool import RecordPool
from autotune_qnn.tuning.replay import replay
from autotune_qnn.tuning.trust import TraceChecker

History = Callable[[str], Sequence[TrialRecord]]
"""From a task's key to its good records, the fastest first: `LogStore.ranked` is one."""

_TRIED = 8
_LOGGER = logging.getLogger(__name__)


def no_history(key: str) -> Sequence[TrialRecord]:
    """The history of a model that was never tuned: every task gets its default schedule."""
    del key
    return ()


def with_pool(store: LogStore | None, pool: RecordPool | None) -> History:
    """The history of a model's own log, where there is one, and of other logs that hold the same tasks."""

    def history(key: str) -> Sequence[TrialRecord]:
        own = [] if store is None else store.ranked(key)
        return own if pool is None else pool.ranked(key, own)

    return history


def scheduled_by(history: History, checker: TraceChecker) -> Callable[[TuningTask], Any | None]:
    """A function from a task to its module with the best recorded schedule that applies.

    The checker tries each trace in a process of its own first, as a log may come from anywhere. A record that
    does not apply (a log edited by hand, or of another version of the kernels) is passed over with a warning;
    a task without any that does gets None, and counts as a fallback.
    """

    def schedule(task: TuningTask) -> Any | None:
        for record in history(task.key)[:_TRIED]:
            if checker.accepts(record, task.mod):
                return replay(record, task.mod).mod
            _LOGGER.warning("%s; the next best schedule is used", checker.rejected[-1])
        return None

    return schedule

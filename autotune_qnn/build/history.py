"""From the records of a log to schedules: the best record of each task, replayed on its kernel."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from autotune_qnn.engines.relax import TuningTask
from autotune_qnn.errors import LogStoreError
from autotune_qnn.logs import TrialRecord
from autotune_qnn.tuning.replay import replay

History = Callable[[str], TrialRecord | None]
"""The best record of a task's key, or None: `LogStore.best` is one."""

_LOGGER = logging.getLogger(__name__)


def no_history(key: str) -> TrialRecord | None:
    """The history of a model that was never tuned: every task gets its default schedule."""
    del key
    return None


def scheduled_by(history: History) -> Callable[[TuningTask], Any | None]:
    """A function from a task to its module with the best recorded schedule applied.

    It gives None for a task without a record, and, with a warning, for one whose record does not apply (a log
    edited by hand, or of another version of the kernels): the task then counts as a fallback.
    """

    def schedule(task: TuningTask) -> Any | None:
        record = history(task.key)
        if record is None:
            return None
        try:
            return replay(record, task.mod).mod
        except LogStoreError as error:
            _LOGGER.warning("%s; its default schedule is used", error)
            return None

    return schedule

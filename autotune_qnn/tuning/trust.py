"""Records that can be relied on: each trace is tried in a process of its own before this one applies it.

TVM checks traces, but not well enough for files from anywhere: some malformed ones end in a division by zero
or a wild pointer. A checking process takes that blow, and the record is left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import tvm

from autotune_qnn.logs import TrialRecord
from autotune_qnn.tuning.check_worker import CheckRequest
from autotune_qnn.tuning.process import WorkerCrash, WorkerFailure, WorkerProcess, WorkerTimeout

_TIMEOUT = 30.0


class TraceChecker:
    """Tries traces in a child process, which starts with the first of them; a context manager.

    `rejected` lists, a line each, the records that were left out and why.
    """

    def __init__(self) -> None:
        """Nothing is started yet."""
        self.rejected: list[str] = []
        self._worker = WorkerProcess("check")

    def accepts(self, record: TrialRecord, task_mod: Any) -> bool:
        """Whether a record's trace applies to the unscheduled module of its task."""
        request = CheckRequest(record, tvm.ir.save_json(task_mod))
        try:
            reason = str(self._worker.call(request, _TIMEOUT))
        except (WorkerCrash, WorkerFailure, WorkerTimeout) as error:
            reason = f"the record of trial {record.trial} cannot be replayed: {error}"
        if reason:
            self.rejected.append(reason)
        return not reason

    def accepted(self, records: Iterable[TrialRecord], task_mod: Any) -> list[TrialRecord]:
        """Those records whose traces apply."""
        return [record for record in records if self.accepts(record, task_mod)]

    def __enter__(self) -> TraceChecker:
        return self

    def __exit__(self, *_: object) -> None:
        self._worker.stop()

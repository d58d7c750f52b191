"""What a checking process does: try a record's trace on its workload, where a crash of TVM does no harm."""

from __future__ import annotations

from dataclasses import dataclass

import tvm

from autotune_qnn.errors import LogStoreError
from autotune_qnn.logs import TrialRecord
from autotune_qnn.tuning.replay import replay


@dataclass(frozen=True, slots=True)
class CheckRequest:
    """A record and the unscheduled module of its task, as TVM's JSON."""

    record: TrialRecord
    module: str


def handle(request: CheckRequest) -> str:
    """Why the record cannot be used; empty when its trace applies."""
    try:
        replay(request.record, tvm.ir.load_json(request.module))
    except LogStoreError as error:
        return str(error)
    return ""

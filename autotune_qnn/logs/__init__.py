"""Tuning logs: what a record says, and the store that keeps records safe. Knows no TVM."""

from __future__ import annotations

from autotune_qnn.logs.schema import SCHEMA_VERSION, Confirmation, LogHeader, Status, TrialRecord, TunerName
from autotune_qnn.logs.store import LogStore, log_folder

__all__ = [
    "SCHEMA_VERSION",
    "Confirmation",
    "LogHeader",
    "LogStore",
    "Status",
    "TrialRecord",
    "TunerName",
    "log_folder",
]

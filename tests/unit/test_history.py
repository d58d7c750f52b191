from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any, cast

import pytest

from autotune_qnn.build import history
from autotune_qnn.build.history import no_history, scheduled_by
from autotune_qnn.engines.relax import TuningTask
from autotune_qnn.errors import LogStoreError
from autotune_qnn.logs import TrialRecord

TASK = cast(TuningTask, SimpleNamespace(key="k", mod="unscheduled"))
RECORD = cast(TrialRecord, SimpleNamespace(trial=3))


def test_a_task_without_a_record_has_no_schedule() -> None:
    assert scheduled_by(no_history)(TASK) is None


def test_a_record_is_replayed_on_the_tasks_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    def replay(record: Any, mod: Any) -> Any:
        return SimpleNamespace(mod=(record, mod))

    monkeypatch.setattr(history, "replay", replay)
    assert scheduled_by({"k": RECORD}.get)(TASK) == (RECORD, "unscheduled")


def test_a_record_that_does_not_apply_is_a_fallback_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def replay(record: Any, mod: Any) -> Any:
        raise LogStoreError("the record of trial 3 does not apply")

    monkeypatch.setattr(history, "replay", replay)
    with caplog.at_level(logging.WARNING):
        assert scheduled_by({"k": RECORD}.get)(TASK) is None
    assert "trial 3" in caplog.text
    assert "default schedule" in caplog.text

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any, cast

import pytest

from autotune_qnn.build import history
from autotune_qnn.build.history import no_history, scheduled_by
from autotune_qnn.engines.relax import TuningTask
from autotune_qnn.logs import TrialRecord
from autotune_qnn.tuning.trust import TraceChecker

TASK = cast(TuningTask, SimpleNamespace(key="k", mod="unscheduled"))
BAD, GOOD = (cast(TrialRecord, SimpleNamespace(trial=trial)) for trial in (3, 4))


class _Checker:
    """Accepts every record but the third."""

    def __init__(self) -> None:
        self.rejected: list[str] = []

    def accepts(self, record: TrialRecord, task_mod: Any) -> bool:
        if record is BAD:
            self.rejected.append("the record of trial 3 does not apply")
        return record is not BAD


def _scheduled(*records: TrialRecord) -> Any:
    checker = cast(TraceChecker, _Checker())
    return scheduled_by({"k": records}.__getitem__, checker)(TASK)


@pytest.fixture(autouse=True)
def _replay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "replay", lambda record, mod: SimpleNamespace(mod=(record, mod)))


def test_a_task_without_a_record_has_no_schedule() -> None:
    assert _scheduled(*no_history("k")) is None


def test_the_fastest_record_is_replayed_on_the_tasks_kernel() -> None:
    assert _scheduled(GOOD, BAD) == (GOOD, "unscheduled")


def test_a_record_that_does_not_apply_is_passed_over_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert _scheduled(BAD, GOOD) == (GOOD, "unscheduled")
    assert "trial 3" in caplog.text


def test_a_task_whose_records_do_not_apply_is_a_fallback() -> None:
    assert _scheduled(BAD) is None

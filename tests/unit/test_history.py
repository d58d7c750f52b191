from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from autotune_qnn.build import history
from autotune_qnn.build.history import LoggedHistory, no_history, scheduled_by
from autotune_qnn.cli.common import open_pool
from autotune_qnn.engines.relax import TargetSpec, TuningTask
from autotune_qnn.logs import LogHeader, LogStore, Status, TrialRecord, TunerName
from autotune_qnn.logs.pool import RecordPool, shipped_logs
from autotune_qnn.tuning.trust import TraceChecker

TASK, BARE = (
    cast(TuningTask, SimpleNamespace(key="k", mod="unscheduled", template=lambda template=template: template))
    for template in ("conv2d", None)
)
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
    return scheduled_by(lambda task: records, checker)(TASK)


@pytest.fixture(autouse=True)
def _replay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "replay", lambda record, mod: SimpleNamespace(mod=(record, mod)))


def test_a_task_without_a_record_has_no_schedule() -> None:
    assert _scheduled(*no_history(TASK)) is None


def test_the_fastest_record_is_replayed_on_the_tasks_kernel() -> None:
    assert _scheduled(GOOD, BAD) == (GOOD, "unscheduled")


def test_a_record_that_does_not_apply_is_passed_over_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert _scheduled(BAD, GOOD) == (GOOD, "unscheduled")
    assert "trial 3" in caplog.text


def test_a_task_whose_records_do_not_apply_is_a_fallback() -> None:
    assert _scheduled(BAD) is None


HEADER = LogHeader("llvm -mcpu=a", "0.27", "this cpu", 1, "0.1.0", "mine", "xnnpack")


def _log(folder: Path, cpu: str, model: str) -> LogStore:
    header = replace(HEADER, cpu=cpu, model=model)
    trial = TrialRecord(
        "k", "k", "conv2d", TunerName.AUTOTVM, {}, [[], []], Status.OK, (1e-6,), "", 0.0, len(cpu)
    )
    with LogStore.open(folder, header.target, model, header) as store:
        store.append(trial)
        return store


def _logged(folder: Path, cpu: str, own: LogStore | None = None) -> LoggedHistory:
    """What is known on a CPU like which only "this cpu" and "its sister" are."""
    alike = ("this cpu", "its sister")
    pool = RecordPool.open(
        [folder], replace(HEADER, cpu=cpu), lambda _: True, alike.__contains__, own and own.path
    )
    return LoggedHistory(own, pool)


def test_a_similar_cpus_records_are_built_with(tmp_path: Path) -> None:
    _log(tmp_path, "its sister", "theirs")
    history = _logged(tmp_path, "this cpu")
    assert len(history(TASK)) == len(history.known(TASK)) == 1
    assert history.set_aside([TASK, BARE]) == 0


def test_records_of_another_kind_of_cpu_come_after_the_default_schedule(tmp_path: Path) -> None:
    _log(tmp_path, "another kind", "theirs")
    history = _logged(tmp_path, "this cpu")
    assert history(TASK) == []
    assert len(history.known(TASK)) == 1
    assert len(history(BARE)) == 1, "there is no default schedule to prefer"
    assert history.set_aside([TASK, BARE]) == 1


def test_so_do_those_of_the_models_own_log(tmp_path: Path) -> None:
    own = _log(tmp_path, "another kind", "mine")
    assert _logged(tmp_path, "this cpu", own).set_aside([TASK]) == 1
    _log(tmp_path, "its sister", "theirs")
    history = _logged(tmp_path, "this cpu", own)
    assert [record.trial for record in history(TASK)] == [len("its sister")]
    assert history.set_aside([TASK]) == 0


def test_without_other_logs_the_own_one_counts(tmp_path: Path) -> None:
    history = LoggedHistory(_log(tmp_path, "this cpu", "mine"), None)
    assert len(history(TASK)) == 1
    assert history.set_aside([TASK]) == 0
    assert LoggedHistory(None, None)(TASK) == ()


@pytest.mark.parametrize(
    ("cpu", "runs", "text", "first"),
    [
        ("AMD EPYC (family 25, model 17, stepping 1)", True, "llvm -mcpu=cascadelake", True),
        ("AMD EPYC-Genoa Processor (family 25, model 17, stepping 0)", True, "llvm -mcpu=cascadelake", True),
        (
            "Intel(R) Xeon(R) Processor (family 6, model 85, stepping 7)",
            True,
            "llvm -mcpu=cascadelake",
            False,
        ),
        (
            "Intel(R) Xeon(R) Processor (family 6, model 85, stepping 7)",
            True,
            "llvm -mcpu=skylake-avx512",
            True,
        ),
        ("AMD Ryzen 7 (family 23, model 113, stepping 0)", False, "llvm -mcpu=cascadelake", False),
        ("AMD Ryzen 7 (family 23, model 113, stepping 0)", False, "llvm -mcpu=znver4", True),
    ],
)
def test_what_ships_is_built_with_on_cpus_like_that_which_measured_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cpu: str, runs: bool, text: str, first: bool
) -> None:
    """All of it comes from AMD's Zen 4, which begins one product a cycle."""
    monkeypatch.setattr(TargetSpec, "runs_here", lambda _: None if runs else "it does not")
    folder = shipped_logs()
    assert folder is not None
    log = LogStore.read(next(iter(sorted(folder.glob("*/*/records.jsonl")))))
    assert "family 25" in log.header.cpu
    pool = open_pool(tmp_path, TargetSpec.parse(text), replace(log.header, cpu=cpu))
    kernels = {key for found in pool.logs for key in found.task_keys()}
    assert len(kernels) > 30
    for key in kernels:
        assert pool.ranked(key), "searches begin with it on every CPU"
        assert bool(pool.to_build(key)) is first

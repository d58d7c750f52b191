from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from autotune_qnn.logs import Confirmation, LogHeader, LogStore, Status, TrialRecord, TunerName
from autotune_qnn.logs.pool import RecordPool, shipped_logs, write_leaders

HERE = LogHeader("llvm -mcpu=a", "0.27", "this cpu", 1, "0.1.0", "mine", "xnnpack")


def record(key: str, trial: int, seconds: float, status: Status = Status.OK) -> TrialRecord:
    secs = (seconds, 2 * seconds) if status is Status.OK else ()
    return TrialRecord(
        key,
        key,
        "conv2d",
        TunerName.AUTOTVM,
        {"rows": trial},
        [[], []],
        status,
        secs,
        "",
        float(trial),
        trial,
    )


def write(folder: Path, header: LogHeader, *records: TrialRecord) -> Path:
    with LogStore.open(folder, header.target, header.model, header) as store:
        for item in records:
            store.append(item)
        return store.path


def pool_of(folder: Path, own: Path | None = None) -> RecordPool:
    return RecordPool.open(
        [folder], HERE, lambda target: target != "llvm -mcpu=other", lambda cpu: cpu != "another kind", own
    )


def test_the_same_task_of_another_model_is_found_comparable_ones_first(tmp_path: Path) -> None:
    own = write(tmp_path, HERE, record("k", 0, 5e-6))
    write(
        tmp_path,
        replace(HERE, model="theirs"),
        record("k", 1, 3e-6),
        record("k", 2, 4e-6),
        record("l", 3, 1e-6),
    )
    write(tmp_path, replace(HERE, model="far", cpu="another cpu"), record("k", 4, 1e-6))
    write(tmp_path, replace(HERE, model="b", target="llvm -mcpu=other"), record("k", 5, 1e-9))
    write(tmp_path, replace(HERE, model="c", threads=2), record("k", 6, 1e-9))
    write(tmp_path, replace(HERE, model="d", tvm_version="0.26"), record("k", 7, 1e-9))
    pool = pool_of(tmp_path, own)
    assert len(pool.logs) == 2
    assert [item.trial for item in pool.ranked("k")] == [1, 2, 4]
    with LogStore.open(tmp_path, HERE.target, HERE.model, HERE) as store:
        assert [item.trial for item in pool.ranked("k", store.ranked("k"))] == [1, 2, 0, 4]
    assert [(item.trial, here) for item, here in pool.same("k")] == [(1, True), (2, True), (4, False)]
    assert pool.ranked("nowhere") == []


def test_records_of_another_kind_of_cpu_are_for_searches_alone(tmp_path: Path) -> None:
    write(tmp_path, replace(HERE, model="far", cpu="another cpu"), record("k", 1, 3e-6))
    write(
        tmp_path,
        replace(HERE, model="further", cpu="another kind"),
        record("k", 2, 1e-6),
        record("l", 3, 1e-6),
    )
    pool = pool_of(tmp_path)
    assert [item.trial for item in pool.ranked("k")] == [1, 2]
    assert [item.trial for item in pool.to_build("k")] == [1]
    assert [item.trial for item in pool.to_build("l", [record("l", 4, 2e-6)])] == [4]
    assert pool.to_build("l") == []
    assert [item.trial for item, _ in pool.same("l")] == [3]


def test_a_damaged_log_is_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path, replace(HERE, model="theirs"), record("k", 1, 3e-6))
    path.write_text("nothing of the sort\n")
    assert len(pool_of(tmp_path)) == 0
    assert "not a log header" in caplog.text


def confirm(store: LogStore, item: TrialRecord, rank: int, seconds: float, session: float = 100.0) -> None:
    store.confirm(Confirmation(item.task_key, item.trial, item.timestamp, session, rank, (seconds,)))


def test_a_comparison_decides_over_earlier_figures(tmp_path: Path) -> None:
    lucky, steady, default, slow = (
        record("k", trial, secs) for trial, secs in enumerate([1e-6, 2e-6, 2.1e-6, 9e-6])
    )
    with LogStore.open(tmp_path, HERE.target, "m", HERE) as store:
        for item in (lucky, steady, default, slow):
            store.append(item)
        assert store.best("k") == lucky
        confirm(store, steady, 0, 2e-6)
        confirm(store, default, 1, 2.1e-6)
        confirm(store, lucky, 2, 3e-6)
    with LogStore.open(tmp_path, HERE.target, "m", HERE) as store:
        assert [item.trial for item in store.ranked("k")] == [1, 2, 0, 3]
        assert len(store) == store.count("k") == 4, "comparisons are no trials"
        confirm(store, slow, 0, 1e-6, session=200.0)
        assert [item.trial for item in store.ranked("k")] == [3, 1, 2, 0], "the latest comparison counts"


def test_leaders_fit_in_a_small_log_that_reads_the_same(tmp_path: Path) -> None:
    items = [record("k", trial, 1e-6 * (9 - trial)) for trial in range(9)]
    failed = record("k", 9, 0.0, Status.CRASH)
    path = write(tmp_path / "full", HERE, *items, failed, record("l", 10, 1e-6))
    with LogStore.open(tmp_path / "full", HERE.target, HERE.model, HERE) as store:
        confirm(store, items[3], 0, 2e-6)
    log = LogStore.read(path)
    written = write_leaders(log, tmp_path / "small", 2)
    assert written == write_leaders(log, tmp_path / "small", 2), "written again in the same place"
    small = LogStore.read(written)
    assert small.header == HERE
    assert [item.trial for item in small.ranked("k")] == [3, 8]
    assert [item.trial for item in small.ranked("l")] == [10]
    assert len(small) == 3
    assert json.loads(written.read_text().splitlines()[0])["type"] == "header"


def test_leaders_take_slower_records_along_for_cost_models(tmp_path: Path) -> None:
    items = [
        replace(record("k", trial, 1e-6 * (1 + trial)), features=(1.0, float(trial))) for trial in range(40)
    ]
    without = record("k", 40, 50e-6)
    path = write(tmp_path / "full", replace(HERE, model="theirs"), *reversed(items), without)
    small = LogStore.read(write_leaders(LogStore.read(path), tmp_path / "small", 2))
    assert [item.trial for item in small.ranked("k")] == [0, 1, 7, 13, 20, 26, 32, 39]
    assert [item.trace is None for item in small.ranked("k")] == [False] * 2 + [True] * 6
    assert all(item.features == (1.0, item.trial) for item in small.records("k"))
    assert path.stat().st_size > 3 * small.path.stat().st_size
    pool = pool_of(tmp_path / "small")
    assert [item.trial for item in pool.ranked("k")] == [0, 1], "there is nothing to build of the others"
    assert len(pool.same("k")) == 8


def test_leaders_take_along_only_what_is_slower_than_the_confirmed(tmp_path: Path) -> None:
    items = [replace(record("k", trial, 1e-6 * (1 + trial)), features=(1.0,)) for trial in range(4)]
    path = write(tmp_path / "full", HERE, *items)
    with LogStore.open(tmp_path / "full", HERE.target, HERE.model, HERE) as store:
        confirm(store, items[1], 0, 2.5e-6)
    small = LogStore.read(write_leaders(LogStore.read(path), tmp_path / "small", 1))
    assert [item.trial for item in small.ranked("k")] == [1, 2, 3], "0 was a lucky one"


def test_logs_come_with_the_project() -> None:
    folder = shipped_logs()
    assert folder is not None
    for path in folder.glob("*/*/records*.jsonl"):
        assert LogStore.read(path).ignored == 0, path

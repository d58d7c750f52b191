from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from autotune_qnn.errors import LogStoreError
from autotune_qnn.logs import LogHeader, LogStore, Status, TrialRecord, TunerName, log_folder

TARGET = "llvm -mcpu=cascadelake -num-cores=2"
HEADER = LogHeader(TARGET, "0.27", "a cpu", 1, "0.1.0", "model", "xnnpack")


def record(key: str = "k", seconds: float | None = 1e-3) -> TrialRecord:
    return TrialRecord(
        task_key=key,
        task_name="conv2d",
        kind="conv2d",
        tuner=TunerName.AUTOTVM,
        config={"tile": 4},
        trace=[[], []],
        status=Status.CRASH if seconds is None else Status.OK,
        run_secs=() if seconds is None else (seconds,),
        error="",
        timestamp=1.0,
        trial=0,
    )


def open_store(folder: Path, header: LogHeader = HEADER, *, create: bool = True) -> LogStore:
    return LogStore.open(folder, TARGET, "model", header, create=create)


def test_records_come_back_and_best_counts_only_good_ones(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        for seconds in (3e-3, None, 2e-3):
            store.append(record(seconds=seconds))
        store.append(record("other"))
    with open_store(tmp_path) as store:
        assert len(store) == 4
        assert store.count("k") == 3
        assert store.count("nothing") == 0
        best = store.best("k")
        assert best is not None
        assert best.seconds == 2e-3
        assert store.best("nothing") is None
        assert len(store.records()) == 4
        assert store.next_trial() == 1


def test_the_header_is_the_first_line_and_is_written_once(tmp_path: Path) -> None:
    for _ in range(2):
        with open_store(tmp_path) as store:
            store.append(record())
            path = store.path
    lines = path.read_text().splitlines()
    assert len(lines) == 3
    assert '"type":"header"' in lines[0]
    assert path == log_folder(tmp_path, TARGET, "model") / "records.jsonl"


@pytest.mark.parametrize("cut", [1, 20, 150])
def test_a_torn_last_line_is_removed_and_the_rest_kept(
    tmp_path: Path, cut: int, caplog: pytest.LogCaptureFixture
) -> None:
    with open_store(tmp_path) as store:
        store.append(record(seconds=3e-3))
        store.append(record(seconds=2e-3))
        path = store.path
    path.write_bytes(path.read_bytes()[:-cut])
    assert len(open_store(tmp_path, create=False)) == 1
    with caplog.at_level(logging.WARNING), open_store(tmp_path) as store:
        assert len(store) == 1
        store.append(record(seconds=1e-3))
    assert "middle of a line" in caplog.text
    with open_store(tmp_path) as store:
        assert [item.seconds for item in store.records("k")] == [3e-3, 1e-3]
        assert store.ignored == 0


def test_a_torn_header_is_written_again(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        path = store.path
    path.write_bytes(path.read_bytes()[:10])
    with open_store(tmp_path) as store:
        store.append(record())
    assert len(open_store(tmp_path, create=False)) == 1


def test_a_file_that_is_no_log_is_left_alone(tmp_path: Path) -> None:
    path = log_folder(tmp_path, TARGET, "model") / "records.jsonl"
    path.parent.mkdir(parents=True)
    for content in ("my diary", "my diary\n", '{"type":"trial"}\n'):
        path.write_text(content)
        with pytest.raises(LogStoreError, match="line"):
            open_store(tmp_path)
        assert path.read_text() == content


def test_damaged_lines_are_counted_and_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with open_store(tmp_path) as store:
        store.append(record())
        path = store.path
    path.write_bytes(path.read_bytes() + b'{"type":"trial"}\nnonsense\n')
    with caplog.at_level(logging.WARNING), open_store(tmp_path) as store:
        assert store.ignored == 2
        assert len(store) == 1
    assert "2 damaged lines" in caplog.text


@pytest.mark.parametrize("change", [{"target": "llvm"}, {"tvm_version": "0.26"}])
def test_foreign_logs_are_refused_in_one_line(tmp_path: Path, change: dict[str, str]) -> None:
    with open_store(tmp_path) as store:
        path = store.path
    path.write_text(replace(HEADER, **change).to_json() + "\n")
    with pytest.raises(LogStoreError, match="belongs to another") as caught:
        open_store(tmp_path)
    assert "\n" not in str(caught.value)


def test_another_schema_version_is_refused(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        path = store.path
    path.write_text(path.read_text().replace('"schema_version":1', '"schema_version":7'))
    with pytest.raises(LogStoreError, match="schema version 7"):
        open_store(tmp_path)


def test_other_conditions_go_to_a_file_of_their_own(tmp_path: Path) -> None:
    other = replace(HEADER, cpu="another cpu")
    with open_store(tmp_path) as store:
        store.append(record(seconds=1e-3))
    with open_store(tmp_path, other) as store:
        assert len(store) == 0
        store.append(record(seconds=2e-3))
        assert re.fullmatch(r"records-[0-9a-f]{10}\.jsonl", store.path.name)
    with open_store(tmp_path, other) as store:
        assert [item.seconds for item in store.records()] == [2e-3]
    assert open_store(tmp_path, create=False).records()[0].seconds == 1e-3
    third = open_store(tmp_path, replace(HEADER, cpu="a third"), create=False)
    assert len(third) == 1


def test_reading_needs_a_log_and_never_writes(tmp_path: Path) -> None:
    with pytest.raises(LogStoreError, match="no tuning log"):
        open_store(tmp_path, create=False)
    assert not list(tmp_path.iterdir())
    open_store(tmp_path).close()
    with pytest.raises(LogStoreError, match="reading only"):
        open_store(tmp_path, create=False).append(record())


def test_an_unwritable_folder_is_one_clear_error(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(LogStoreError, match="--log-dir"):
        open_store(blocked)
    with pytest.raises(LogStoreError, match="--log-dir"):
        open_store(Path("/proc/nowhere"))


def test_a_log_of_hostile_size_is_refused(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        path = store.path
    with path.open("r+b") as file:
        file.truncate(2 << 30)
    with pytest.raises(LogStoreError, match="bytes"):
        open_store(tmp_path, create=False)


def test_names_cannot_leave_the_log_folder(tmp_path: Path) -> None:
    folder = log_folder(tmp_path, "../../x", "../..")
    assert folder.resolve().is_relative_to(tmp_path.resolve())
    assert folder.parent.parent == tmp_path
    assert log_folder(tmp_path, "t" * 500, "m") != log_folder(tmp_path, "t" * 501, "m")


WRITER = """
import sys
from pathlib import Path
from tests_store import open_store, record
store = open_store(Path(sys.argv[1]))
print("ready", flush=True)
for number in range(int(sys.argv[2])):
    store.append(record(sys.argv[3], seconds=1e-3 * (number + 1)))
"""


def start_writer(folder: Path, count: int, key: str) -> subprocess.Popen[str]:
    here = Path(__file__)
    code = (
        "import importlib.util, sys\n"
        f"spec = importlib.util.spec_from_file_location('tests_store', {str(here)!r})\n"
        "module = importlib.util.module_from_spec(spec)\n"
        "sys.modules['tests_store'] = module\n"
        "spec.loader.exec_module(module)\n" + WRITER
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, str(folder), str(count), key], stdout=subprocess.PIPE, text=True
    )


def test_two_processes_write_one_log(tmp_path: Path) -> None:
    writers = [start_writer(tmp_path, 60, key) for key in ("a", "b")]
    for writer in writers:
        writer.communicate(timeout=60)
        assert writer.returncode == 0
    with open_store(tmp_path) as store:
        assert (store.count("a"), store.count("b"), store.ignored) == (60, 60, 0)
    assert len(list(store.path.parent.iterdir())) == 1


def test_a_killed_writer_loses_nothing_that_was_appended(tmp_path: Path) -> None:
    for round_number in range(3):
        writer = start_writer(tmp_path, 1_000_000, "k")
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        time.sleep(0.1 + 0.05 * round_number)
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait(timeout=10)
        writer.stdout.close()
    with open_store(tmp_path) as store:
        seconds = [item.seconds for item in store.records("k")]
        assert store.ignored == 0
    starts = [place for place, value in enumerate(seconds) if value == 1e-3]
    assert len(starts) == 3
    for begin, end in zip(starts, [*starts[1:], len(seconds)], strict=True):
        expected = [float(f"{1e-3 * (number + 1):.6g}") for number in range(end - begin)]
        assert seconds[begin:end] == expected

from __future__ import annotations

import io
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from matmul_task import HEADER, HostTarget, MatmulTask

from autotune_qnn.logs import LogStore, Status, TrialRecord, TunerName
from autotune_qnn.tuning.interrupt import StopRequest
from autotune_qnn.tuning.options import TuneOptions, TunerChoice
from autotune_qnn.tuning.progress import BarProgress, NoProgress, format_seconds
from autotune_qnn.tuning.protocols import Task
from autotune_qnn.tuning.summary import StopReason
from autotune_qnn.tuning.trust import TraceChecker
from autotune_qnn.tuning.tuner import tune

TASKS = (MatmulTask(16, weight=2), MatmulTask(32))


def options(trials: int, tuner: TunerChoice = TunerChoice.AUTOTVM, **changes: int) -> TuneOptions:
    return TuneOptions(tuner=tuner, trials=trials, repeat=3, min_repeat_ms=0.1, batch=4, **changes)


def open_store(folder: Path) -> LogStore:
    return LogStore.open(folder, "llvm", "toy", HEADER)


def identities(store: LogStore) -> list[tuple[str, str]]:
    return [(record.task_key, str(record.config or record.trace)) for record in store.records()]


def test_a_run_measures_its_budget_and_resumes_without_repeating(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        first = tune(TASKS, HostTarget(), store, options(10))
    assert (first.measured, first.resumed, first.reason) == (10, 0, StopReason.BUDGET)
    assert all(math.isfinite(task.best_secs) for task in first.tasks)
    with open_store(tmp_path) as store:
        again = tune(TASKS, HostTarget(), store, options(10))
        assert (again.measured, again.resumed) == (0, 10)
        more = tune(TASKS, HostTarget(), store, options(16))
        assert (more.measured, more.resumed) == (6, 10)
        assert len(set(identities(store))) == len(store) == 16
        assert sorted(record.trial for record in store.records()) == list(range(16))
        for task in TASKS:
            tried = [record.config for record in store.records(task.key)]
            assert {"rows": 4, "columns": 16, "unroll": 1} in tried, "the default is measured like the others"
        with TraceChecker() as checker:
            best = store.best(TASKS[0].key)
            assert best is not None
            assert checker.accepts(best, TASKS[0].mod)
            assert store.ranked(TASKS[0].key)[0] == best
            assert best.confirmation is not None, "the winner comes from a comparison of the leaders"
            assert best.confirmation.rank == 0
            assert store.ranked(MatmulTask(64).key) == []


def trials_of(store: LogStore, tuner: TunerName) -> int:
    """How many trials of the second task are one tuner's."""
    return sum(record.tuner is tuner for record in store.records(TASKS[1].key))


def test_sketches_start_from_the_default_schedule(tmp_path: Path) -> None:
    """The default is tried with the first sketches (which of them ends first is chance), so that a build with the best
    history is never slower than without.
    """
    with open_store(tmp_path) as store:
        tune(TASKS[1:], HostTarget(), store, options(9, TunerChoice.AUTOSCHEDULER))
        assert trials_of(store, TunerName.AUTOTVM) == 1
        tried = [record.config for record in store.records(TASKS[1].key)]
        assert {"rows": 4, "columns": 16, "unroll": 1} in tried
        resumed = tune(TASKS[1:], HostTarget(), store, options(12, TunerChoice.AUTOSCHEDULER))
        assert (resumed.measured, resumed.resumed) == (3, 9)
        assert trials_of(store, TunerName.AUTOTVM) == 1


def test_both_tuners_share_a_task(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        summary = tune(TASKS[1:], HostTarget(), store, options(24, TunerChoice.BOTH))
        assert summary.measured == 24
        assert trials_of(store, TunerName.AUTOTVM) >= 16
        assert trials_of(store, TunerName.AUTOSCHEDULER) >= 4
        resumed = tune(TASKS[1:], HostTarget(), store, options(30, TunerChoice.BOTH))
        assert (resumed.measured, resumed.resumed) == (6, 24)
        assert len(set(identities(store))) == 30


def test_a_task_without_template_gets_sketches_or_nothing(tmp_path: Path) -> None:
    bare = MatmulTask(16, templated=False)
    with open_store(tmp_path) as store:
        none = tune([bare], HostTarget(), store, options(5))
        assert (none.measured, none.reason) == (0, StopReason.FINISHED)
        some = tune([bare], HostTarget(), store, options(5, TunerChoice.BOTH))
        assert some.measured == 5


def test_a_small_space_ends_the_run_before_its_budget(tmp_path: Path) -> None:
    tiny = MatmulTask(4)
    with open_store(tmp_path) as store:
        summary = tune([tiny], HostTarget(), store, options(500))
        assert summary.reason is StopReason.FINISHED
        assert 10 < summary.measured < 30
        assert len(set(identities(store))) == len(store)


def test_budgets_of_a_task_and_early_stopping(tmp_path: Path) -> None:
    with open_store(tmp_path / "a") as store:
        capped = tune(TASKS, HostTarget(), store, options(100, trials_per_task=5))
        assert (capped.measured, capped.reason) == (10, StopReason.FINISHED)
        assert [store.count(task.key) for task in TASKS] == [5, 5]
    with open_store(tmp_path / "b") as store:
        stopped = tune(TASKS[:1], HostTarget(), store, options(200, early_stopping=4))
        assert stopped.measured < 40


def test_wrong_results_are_recorded_and_given_up(tmp_path: Path) -> None:
    wrong = MatmulTask(32, wrong=True)
    with open_store(tmp_path) as store:
        summary = tune([wrong], HostTarget(), store, options(100))
        assert summary.failures == ((Status.WRONG_RESULT, summary.measured),)
        assert summary.measured < 40
        assert store.best(wrong.key) is None
        assert not store.records(wrong.key)[0].run_secs


class StopAfter(NoProgress):
    """Asks the run to stop after some trials, as a signal would."""

    def __init__(self, stop: StopRequest, trials: int) -> None:
        self.stop = stop
        self.left = trials

    def trial(self, record: TrialRecord, best_secs: float) -> None:
        self.left -= 1
        if self.left <= 0:
            self.stop.request()


def test_a_stop_request_keeps_what_was_measured(tmp_path: Path) -> None:
    stop = StopRequest()
    with open_store(tmp_path) as store:
        summary = tune(TASKS, HostTarget(), store, options(100), StopAfter(stop, 5), stop)
        assert summary.interrupted
        assert 5 <= summary.measured <= 15
        assert len(store) == summary.measured


def test_the_bar_shows_task_best_and_failures() -> None:
    stream = io.StringIO()
    bar = BarProgress(stream)
    tasks: Sequence[Task] = TASKS
    bar.start(tasks, 4, 1)
    bar.task("conv")
    for status in (Status.OK, Status.CRASH, Status.CRASH):
        secs = (1e-5,) if status is Status.OK else ()
        bar.trial(
            TrialRecord("k", "conv", "conv", TunerName.AUTOTVM, None, None, status, secs, "", 0.0, 0), 1e-5
        )
    bar.close()
    last = stream.getvalue().splitlines()[-1]
    assert "4/4" in last
    assert "conv best 10.0 µs, crash 2" in last


@pytest.mark.parametrize("seconds, text", [(math.inf, "-"), (2.5e-5, "25.0 µs"), (0.0123, "12.300 ms")])
def test_latencies_are_readable(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


RUN = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from matmul_task import HEADER, HostTarget, MatmulTask
from autotune_qnn.logs import LogStore
from autotune_qnn.tuning.options import TuneOptions, TunerChoice
from autotune_qnn.tuning.progress import NoProgress
from autotune_qnn.tuning.tuner import tune

class Told(NoProgress):
    def trial(self, record, best_secs):
        print("trial", flush=True)

with LogStore.open(Path(sys.argv[1]), "llvm", "toy", HEADER) as store:
    options = TuneOptions(TunerChoice.AUTOTVM, trials=500, repeat=3, min_repeat_ms=0.1, batch=4)
    summary = tune([MatmulTask(32), MatmulTask(64)], HostTarget(), store, options, Told())
    print("reason", summary.reason, summary.measured)
"""


def start_run(folder: Path, log: Path) -> subprocess.Popen[str]:
    """Start a run of its own and wait until it has measured three trials."""
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, str(log), str(Path(__file__).parent)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(folder)},
        start_new_session=True,
    )
    assert process.stdout is not None
    for _ in range(3):
        assert process.stdout.readline() == "trial\n"
    return process


def workers_of(folder: Path) -> list[str]:
    """Command lines of living workers whose temporary folder is under `folder`."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            environment = (entry / "environ").read_bytes().decode(errors="replace")
            command = (entry / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if f"TMPDIR={folder}\0" in environment and "autotune_qnn.tuning.worker" in command:
            found.append(command)
    return found


def wait_for_no_workers(folder: Path) -> None:
    deadline = time.monotonic() + 10
    while workers_of(folder) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not workers_of(folder)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    process = start_run(tmp_path, tmp_path / "log")
    os.killpg(process.pid, number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    match = re.search(r"reason interrupted (\d+)", output)
    assert match is not None
    with open_store(tmp_path / "log") as store:
        assert len(store) == int(match[1]) >= 3
        assert all(record.status is Status.OK for record in store.records())
    wait_for_no_workers(tmp_path)
    assert not list(tmp_path.glob("autotune_qnn-tune-*"))


@pytest.mark.skipif(sys.platform != "linux", reason="workers end with their parent through Linux's prctl")
def test_a_killed_run_loses_at_most_the_trial_in_flight(tmp_path: Path) -> None:
    process = start_run(tmp_path, tmp_path / "log")
    os.kill(process.pid, signal.SIGKILL)
    output, _ = process.communicate(timeout=60)
    told = 3 + output.count("trial")
    with open_store(tmp_path / "log") as store:
        kept = len(store)
        assert store.ignored == 0
        assert told <= kept <= told + 1
        wait_for_no_workers(tmp_path)
        tasks = [MatmulTask(32), MatmulTask(64)]
        summary = tune(tasks, HostTarget(), store, options(kept + 4))
        assert (summary.resumed, summary.measured) == (kept, 4)
        assert len(set(identities(store))) == len(store)

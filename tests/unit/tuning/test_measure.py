from __future__ import annotations

import os
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tvm
from matmul_task import HostTarget, MatmulTask
from tvm import te, tirx

from autotune_qnn.errors import BuildError
from autotune_qnn.logs import Status
from autotune_qnn.tuning import worker
from autotune_qnn.tuning.arguments import write_arguments
from autotune_qnn.tuning.build_worker import BuildRequest
from autotune_qnn.tuning.measure import Comparison, Job, Measurer, runner_cores
from autotune_qnn.tuning.options import TuneOptions
from autotune_qnn.tuning.process import WorkerProcess
from autotune_qnn.tuning.run_worker import COMPARED_REPEATS, Measurement
from autotune_qnn.tuning.workspace import Workspace

OPTIONS = TuneOptions(timeout=3.0, repeat=5, min_repeat_ms=0.1)


def vector_module(value: Any) -> Any:
    """A kernel of one int32 input and output of 4 elements; `value` gives an element of the output."""
    source = te.placeholder((4,), "int32", name="source")
    function = te.create_prim_func([source, te.compute((4,), lambda i: value(source, i), name="out")])
    return tvm.IRModule({"main": function.with_attr("global_symbol", "main")})


def wild_module() -> Any:
    """A kernel that reads far outside its input."""
    return vector_module(lambda source, i: source[i + tirx.const(1 << 29, "int32")])


def endless_module() -> Any:
    """A kernel whose loop takes hours."""
    source = te.placeholder((4,), "int32", name="source")
    j = te.reduce_axis((0, 1 << 20), "j")
    k = te.reduce_axis((0, 1 << 20), "k")
    mix = te.comm_reducer(lambda x, y: (x * 3) ^ y, lambda dtype: tirx.const(1, dtype), name="mix")
    out = te.compute((4,), lambda i: mix(source[i] + j * k, axis=[j, k]), name="out")
    function = te.create_prim_func([source, out])
    return tvm.IRModule({"main": function.with_attr("global_symbol", "main")})


def arguments_of(folder: Path, task: MatmulTask | None = None) -> Path:
    path = folder / "arguments.npz"
    if task is None:
        source = np.arange(4, dtype=np.int32)
        np.savez(path, arg0=source, arg1=np.zeros(4, np.int32), expected0=source + 1)
        return path
    write_arguments(path, task, 0)
    return path


def collect(measurer: Measurer[str], count: int) -> dict[str, Measurement]:
    results: dict[str, Measurement] = {}
    deadline = time.monotonic() + 120
    while len(results) < count and time.monotonic() < deadline:
        results.update({outcome.tag: outcome.measurement for outcome in measurer.wait(0.5)})
    return results


def test_every_way_to_fail_is_data_and_the_next_trial_is_unharmed(tmp_path: Path) -> None:
    arguments = arguments_of(tmp_path)
    modules = {
        "right": tvm.ir.save_json(vector_module(lambda source, i: source[i] + 1)),
        "wrong": tvm.ir.save_json(vector_module(lambda source, i: source[i] + 2)),
        "damaged": "{}",
        "crash": tvm.ir.save_json(wild_module()),
        "endless": tvm.ir.save_json(endless_module()),
        "last": tvm.ir.save_json(vector_module(lambda source, i: 1 + source[i])),
    }
    with Workspace() as workspace, Measurer[str](HostTarget(), OPTIONS, workspace) as measurer:
        for name, module in modules.items():
            measurer.submit(Job(name, module, arguments))
        results = collect(measurer, len(modules))
        assert len(list(workspace.path.glob("*.so"))) == 2, "libraries of good candidates are handed over"
    assert not workspace.path.exists()
    assert {name: result.status for name, result in results.items()} == {
        "right": Status.OK,
        "wrong": Status.WRONG_RESULT,
        "damaged": Status.COMPILE_ERROR,
        "crash": Status.CRASH,
        "endless": Status.TIMEOUT,
        "last": Status.OK,
    }
    assert len(results["right"].run_secs) >= OPTIONS.repeat, "more where the machine is noisy"
    assert min(results["right"].run_secs) > 0
    assert "SIGSEGV" in results["crash"].error
    assert "4 of 4 elements differ" in results["wrong"].error
    assert all("\n" not in result.error for result in results.values())


def test_builders_pause_for_measurements_without_a_free_core(tmp_path: Path) -> None:
    task = MatmulTask(16)
    arguments = arguments_of(tmp_path, task)
    options = TuneOptions(threads=2, repeat=3, min_repeat_ms=0.1)
    with Workspace() as workspace, Measurer[str](HostTarget(), options, workspace, cores=2) as measurer:
        for name in "abc":
            measurer.submit(Job(name, tvm.ir.save_json(task.mod), arguments))
        results = collect(measurer, 3)
    assert [result.status for result in results.values()] == [Status.OK] * 3


def test_cancelled_jobs_are_forgotten(tmp_path: Path) -> None:
    arguments = arguments_of(tmp_path)
    module = tvm.ir.save_json(vector_module(lambda source, i: source[i] + 1))
    with Workspace() as workspace, Measurer[int](HostTarget(), OPTIONS, workspace) as measurer:
        for number in range(20):
            measurer.submit(Job(number, module, arguments))
        measurer.cancel()
        begun = measurer.in_flight
        assert begun <= 1 + len(os.sched_getaffinity(0))
        deadline = time.monotonic() + 60
        while measurer.in_flight and time.monotonic() < deadline:
            measurer.wait(0.5)
            measurer.cancel()
        assert measurer.in_flight == 0


def test_slow_candidates_get_few_repeats(tmp_path: Path) -> None:
    arguments = arguments_of(tmp_path)
    module = tvm.ir.save_json(vector_module(lambda source, i: source[i] + 1))
    with Workspace() as workspace, Measurer[str](HostTarget(), OPTIONS, workspace) as measurer:
        measurer.submit(Job("slow", module, arguments, best_secs=1e-12))
        assert len(collect(measurer, 1)["slow"].run_secs) == 3


def test_a_worker_that_cannot_start_is_a_build_error(monkeypatch: pytest.MonkeyPatch) -> None:
    process = WorkerProcess("no such role")
    with pytest.raises(BuildError, match="cannot start"):
        process.call(None, 1.0)


def test_folders_of_killed_runs_are_removed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    stale = tmp_path / f"autotune_qnn-tune-{(1 << 22) + 5}-abc"
    alive = tmp_path / f"autotune_qnn-tune-{os.getpid()}-abc"
    other = tmp_path / "autotune_qnn-tune-x"
    for folder in (stale, alive, other):
        folder.mkdir()
    with Workspace():
        assert not stale.exists()
        assert alive.exists()
        assert other.exists()


def test_error_messages_are_cut_to_a_line() -> None:
    assert worker.summary_of("a\n\n  b\nc\n") == "a … c"
    assert worker.summary_of("") == ""
    assert len(worker.summary_of("x" * 5000)) == 500


def test_a_paused_worker_keeps_its_time(tmp_path: Path) -> None:
    """What counts towards a request's deadline is the time that the worker may run."""
    arguments = arguments_of(tmp_path)
    module = tvm.ir.save_json(vector_module(lambda source, i: source[i] + 1))
    with Workspace() as workspace:
        process = WorkerProcess("build", workspace.path / "log")
        request = BuildRequest(module, '{"kind": "llvm"}', str(workspace.path / "first.so"))
        process.call(request, 60.0)
        process.pause()
        timer = threading.Timer(2.0, process.resume)
        timer.start()
        start = time.monotonic()
        process.call(replace(request, library=str(workspace.path / "second.so")), 1.5)
        assert time.monotonic() - start > 1.9
        timer.join()
        process.stop()
    assert arguments.exists()


def test_kernels_have_cores_of_their_own_where_there_are_enough() -> None:
    assert runner_cores(frozenset({0, 1}), 1) == (1,)
    assert runner_cores(frozenset({0, 1, 2, 3}), 2) == (2, 3)
    assert runner_cores(frozenset({0, 1}), 2) == (0, 1)
    assert runner_cores(frozenset({4}), 2) == (4,)


def test_leaders_are_compared_in_turns(tmp_path: Path) -> None:
    arguments = arguments_of(tmp_path)
    modules = {
        "a": tvm.ir.save_json(vector_module(lambda source, i: source[i] + 1)),
        "b": tvm.ir.save_json(vector_module(lambda source, i: 1 + source[i])),
        "wrong": tvm.ir.save_json(vector_module(lambda source, i: source[i] + 2)),
    }
    with Workspace() as workspace, Measurer[str](HostTarget(), OPTIONS, workspace) as measurer:
        for name, module in modules.items():
            measurer.submit(Job(name, module, arguments, build_only=True))
        libraries: dict[str, Path] = {}
        deadline = time.monotonic() + 120
        while len(libraries) < 3 and time.monotonic() < deadline:
            for outcome in measurer.wait(0.5):
                assert outcome.library is not None
                assert not outcome.measurement.run_secs
                libraries[outcome.tag] = outcome.library
        measurer.compare(Comparison(("a", "b"), (libraries["a"], libraries["b"]), arguments, rounds=4))
        results = collect(measurer, 2)
        assert [len(result.run_secs) for result in results.values()] == [4 * COMPARED_REPEATS] * 2
        assert all(result.noise >= 1 for result in results.values())
        measurer.compare(
            Comparison(("a", "wrong"), (libraries["a"], libraries["wrong"]), arguments, rounds=4)
        )
        failed = collect(measurer, 2)
        assert {result.status for result in failed.values()} == {Status.RUNTIME_ERROR}

from __future__ import annotations

import os
import time
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
from autotune_qnn.tuning.measure import Job, Measurer
from autotune_qnn.tuning.options import TuneOptions
from autotune_qnn.tuning.process import WorkerProcess
from autotune_qnn.tuning.run_worker import Measurement
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
    arguments, expected = task.arguments(0)
    np.savez(path, **{f"arg{i}": item for i, item in enumerate(arguments)}, expected0=expected[0])
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
    assert len(results["right"].run_secs) == OPTIONS.repeat
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

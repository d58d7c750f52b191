"""Sessions of different thread counts in one process: each runs on its own number of threads."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tvm
from tvm.script import tirx as T  # noqa: N812 - TVMScript's usual name

from autotune_qnn.errors import UsageError
from autotune_qnn.runtime.threads import KernelThreads

TASKS = 24


@T.prim_func
def who_am_i(threads: T.Buffer((TASKS,), "int64")):
    """Every task of a parallel loop stores the thread that runs it."""
    for task in T.parallel(TASKS):
        threads[task] = T.call_extern("int64", "pthread_self")


@pytest.fixture(scope="module")
def kernel() -> Any:
    return tvm.compile(tvm.IRModule({"main": who_am_i}), tvm.target.Target({"kind": "llvm"}))["main"]


def seen(kernel: Any, threads: KernelThreads) -> int:
    """How many threads a kernel with many tasks runs on."""
    ids = tvm.runtime.tensor(np.zeros(TASKS, np.int64))
    threads.call(kernel, ids)
    return len(set(ids.numpy().tolist()))


def test_each_session_has_its_own_number(kernel: Any) -> None:
    counts = (1, 2, 3, 1, 6)
    several = [KernelThreads(count) for count in counts]
    for _ in range(2):
        assert [seen(kernel, threads) for threads in several] == list(counts)
    for threads in reversed(several):
        assert seen(kernel, threads) == threads.count
        threads.close()


def test_one_session_used_from_several_threads(kernel: Any) -> None:
    workers, found = KernelThreads(2), []

    def run() -> None:
        found.append(seen(kernel, workers))

    for _ in range(3):
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
    assert [*found, seen(kernel, workers)] == [2, 2, 2, 2]
    workers.close()


@pytest.mark.parametrize("count", [0, -1, 1025])
def test_numbers_that_cannot_be(count: int) -> None:
    with pytest.raises(UsageError, match="--threads"):
        KernelThreads(count)


def test_after_a_pool_of_one_thread() -> None:
    """A process that was started for one thread and has run kernels still gives a session its two."""
    script = (
        "from tests.unit.test_threads import *\n"
        "kernel = tvm.compile(tvm.IRModule({'main': who_am_i}), tvm.target.Target({'kind': 'llvm'}))['main']\n"
        "ids = tvm.runtime.tensor(np.zeros(TASKS, np.int64))\n"
        "kernel(ids)\n"
        "assert len(set(ids.numpy().tolist())) == 1\n"
        "print(*(seen(kernel, KernelThreads(count)) for count in (1, 2, 1)))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "TVM_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.stdout.split() == ["1", "2", "1"], result.stderr

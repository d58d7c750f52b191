"""The threads that a session's kernels run on.

TVM keeps one pool for every thread that runs kernels. A pool never grows; what can be set at any time is how many of
its threads are used. So each session sets its number before it runs, and where the pool of the calling thread is too
small, runs on a thread of its own, with a pool of the right size.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import tvm_ffi

from autotune_qnn.errors import BuildError, UsageError

Result = TypeVar("Result")

_POOL_SIZE = "TVM_NUM_THREADS"
_BIG_CORES = 1
_environment = threading.Lock()
_calling = threading.local()


class KernelThreads:
    """Runs functions whose kernels use `count` threads, whatever others use."""

    def __init__(self, count: int) -> None:
        """Raises UsageError for a number that cannot be, BuildError where so many threads cannot be started."""
        if not 1 <= count <= 1024:
            raise UsageError(f"--threads has to be from 1 to 1024, not {count}")
        self.count = count
        self._own: ThreadPoolExecutor | None = None if _use(count) else self._own_thread()

    def call(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """The result of a function, run with this number of threads."""
        if self._own is None and not _use(self.count):
            self._own = self._own_thread()
        if self._own is not None:
            return self._own.submit(function, *arguments).result()
        return function(*arguments)

    def bound(self, function: Callable[..., Result], *arguments: Any) -> Callable[[], Result]:
        """What calls a function as `call` does, in as few steps as there can be."""

        def run() -> Result:
            if self._own is None and getattr(_calling, "count", 0) == self.count:
                return function(*arguments)
            return self.call(function, *arguments)

        return run

    def close(self) -> None:
        """End the thread, if there is one of its own."""
        if self._own is not None:
            self._own.shutdown()

    def _own_thread(self) -> ThreadPoolExecutor:
        executor = ThreadPoolExecutor(1, thread_name_prefix="autotune_qnn")
        if not executor.submit(_start_pool, self.count).result():
            executor.shutdown()
            raise BuildError(f"TVM's thread pool cannot have {self.count} threads here; choose fewer")
        return executor


def _use(count: int) -> bool:
    """Let the calling thread's pool use `count` of its threads; False where it has fewer."""
    if getattr(_calling, "count", 0) != count:
        tvm_ffi.get_global_func("runtime.config_threadpool")(_BIG_CORES, count)
        _calling.count = int(tvm_ffi.get_global_func("runtime.NumThreads")())
    return bool(_calling.count == count)


def _start_pool(count: int) -> bool:
    """Give the calling thread, which has no pool yet, one of `count` threads.

    TVM sizes a new pool by the environment, and runs every loop on one thread for as long as that says 1.
    """
    with _environment:
        before = os.environ.get(_POOL_SIZE, "")
        os.environ[_POOL_SIZE] = str(count)
        try:
            return _use(count)
        finally:
            if before.isdecimal() and int(before) > count:
                os.environ[_POOL_SIZE] = before

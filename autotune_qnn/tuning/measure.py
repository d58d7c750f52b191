"""Building and measuring candidates in worker processes, overlapped.

Builder threads and one runner thread each drive one persistent worker process. Where the machine has a core
that the kernels leave free, candidates are built while others are timed; where it has none, a lock keeps the
two apart, so that a build never disturbs a measurement. Builders run at a lower priority.
"""

from __future__ import annotations

import json
import math
import os
import queue
import threading
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from autotune_qnn.logs import Status
from autotune_qnn.tuning.build_worker import BuildRequest
from autotune_qnn.tuning.options import TuneOptions
from autotune_qnn.tuning.process import WorkerCrash, WorkerFailure, WorkerProcess, WorkerTimeout
from autotune_qnn.tuning.protocols import Target
from autotune_qnn.tuning.run_worker import Measurement, RunRequest
from autotune_qnn.tuning.workspace import Workspace

Tag = TypeVar("Tag")
_BUILDER_NICENESS = 5
_POLL = 0.1


@dataclass(frozen=True, slots=True)
class Job(Generic[Tag]):
    """A candidate on its way: the caller's tag, the module as JSON, the task's argument file."""

    tag: Tag
    module: str
    arguments: Path
    best_secs: float = math.inf


@dataclass(frozen=True, slots=True)
class _Built(Generic[Tag]):
    job: Job[Tag]
    library: Path


def worker_counts(cores: int, threads: int) -> tuple[int, bool]:
    """How many builders to run beside kernels of `threads` threads, and whether builds may overlap timing."""
    free = cores - threads
    return max(1, free), free >= 1


class Measurer(Generic[Tag]):
    """Takes jobs, gives back (tag, measurement) pairs in any order; a context manager."""

    def __init__(
        self, target: Target, options: TuneOptions, workspace: Workspace, cores: int | None = None
    ) -> None:
        """`cores` is the number of CPU cores to share out; this process's own by default."""
        self._options = options
        self._workspace = workspace
        self._target = json.dumps(dict(target.mapping()))
        self._to_build: queue.Queue[Job[Tag] | None] = queue.Queue()
        self._to_run: queue.Queue[_Built[Tag] | None] = queue.Queue()
        self._done: queue.Queue[tuple[Tag, Measurement] | BaseException] = queue.Queue()
        self._file_lock = threading.Lock()
        self._closing = False
        self.in_flight = 0
        count, overlap = worker_counts(cores or len(os.sched_getaffinity(0)), options.threads)
        self._gate: Any = nullcontext() if overlap else threading.Lock()
        self._builders = [
            WorkerProcess("build", workspace.path / f"build-{i}.log", niceness=_BUILDER_NICENESS)
            for i in range(count)
        ]
        environment = {
            "TVM_NUM_THREADS": str(options.threads),
            "TVM_USE_RUNTIME_LIB": "1",
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }
        self._runner = WorkerProcess("run", workspace.path / "run.log", environment)
        self._threads = [
            threading.Thread(target=self._guarded, args=(self._build_loop, worker), daemon=True)
            for worker in self._builders
        ]
        self._threads.append(
            threading.Thread(target=self._guarded, args=(self._run_loop, self._runner), daemon=True)
        )
        for thread in self._threads:
            thread.start()

    def submit(self, job: Job[Tag]) -> None:
        """Queue a candidate."""
        self.in_flight += 1
        self._to_build.put(job)

    def wait(self, timeout: float) -> list[tuple[Tag, Measurement]]:
        """Results that are there, waiting at most `timeout` seconds for the first of them.

        An error of the machinery itself (a full disk, say) is raised here.
        """
        results: list[tuple[Tag, Measurement]] = []
        while self.in_flight:
            try:
                item = self._done.get(timeout=timeout) if not results else self._done.get_nowait()
            except queue.Empty:
                break
            if isinstance(item, BaseException):
                raise item
            self.in_flight -= 1
            results.append(item)
        return results

    def cancel(self) -> None:
        """Forget every candidate that no worker has begun with; those in work still give results."""
        for waiting in (self._to_build, self._to_run):
            while True:
                try:
                    item = waiting.get_nowait()
                except queue.Empty:
                    break
                if item is not None:
                    self.in_flight -= 1

    def close(self) -> None:
        """End every worker, at once."""
        self._closing = True
        for worker in (*self._builders, self._runner):
            worker.close()
        for _ in self._builders:
            self._to_build.put(None)
        self._to_run.put(None)
        for thread in self._threads:
            thread.join(timeout=5)

    def __enter__(self) -> Measurer[Tag]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _guarded(self, loop: Callable[[WorkerProcess], None], worker: WorkerProcess) -> None:
        try:
            loop(worker)
        except BaseException as error:  # noqa: BLE001 - a thread hands its error to the caller's
            if not self._closing:
                self._done.put(error)
        finally:
            worker.stop()

    def _build_loop(self, worker: WorkerProcess) -> None:
        while (job := self._to_build.get()) is not None and not self._closing:
            with self._file_lock:
                library = self._workspace.new_file(".so")
            request = BuildRequest(job.module, self._target, str(library))
            with self._gate:
                failure = _attempt(worker, request, self._options.timeout, Status.COMPILE_ERROR)
            if isinstance(failure, Measurement):
                library.unlink(missing_ok=True)
                self._done.put((job.tag, failure))
            else:
                self._to_run.put(_Built(job, library))

    def _run_loop(self, worker: WorkerProcess) -> None:
        options = self._options
        while (built := self._to_run.get()) is not None and not self._closing:
            request = RunRequest(
                library=str(built.library),
                arguments=str(built.job.arguments),
                number=options.number,
                repeat=options.repeat,
                min_repeat_ms=options.min_repeat_ms,
                best_secs=built.job.best_secs,
            )
            with self._gate:
                result = _attempt(worker, request, options.timeout, Status.CRASH)
            built.library.unlink(missing_ok=True)
            assert isinstance(result, Measurement)
            if result.status is Status.RUNTIME_ERROR:
                worker.stop()
            self._done.put((built.job.tag, result))


def _attempt(worker: WorkerProcess, request: Any, timeout: float, on_crash: Status) -> Any:
    """The worker's answer, or the measurement that says how it failed."""
    try:
        return worker.call(request, timeout)
    except WorkerTimeout as error:
        phase = "build" if on_crash is Status.COMPILE_ERROR else "run"
        return Measurement(Status.TIMEOUT, error=f"{phase}: {error}")
    except WorkerCrash as error:
        return Measurement(on_crash, error=str(error))
    except WorkerFailure as error:
        failed = Status.COMPILE_ERROR if on_crash is Status.COMPILE_ERROR else Status.RUNTIME_ERROR
        return Measurement(failed, error=str(error))

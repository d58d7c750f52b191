"""Building and measuring candidates in worker processes, overlapped.

Builder threads and one runner thread each drive one persistent worker process; there are as many builders as cores.
While the runner measures, as many builders pause as the kernel has threads, so that it has its cores to itself: a
build takes several times as long as a measurement, and a core that waits for builds alone would be idle for most of
the time. Builders run at a lower priority. Every process has its cores: kernels theirs, with the builders that pause
for them, everything else the remaining ones.
"""

from __future__ import annotations

import json
import math
import os
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from autotune_qnn.logs import Status
from autotune_qnn.tuning.build_worker import BuildRequest
from autotune_qnn.tuning.options import TuneOptions
from autotune_qnn.tuning.process import WorkerCrash, WorkerFailure, WorkerProcess, WorkerTimeout
from autotune_qnn.tuning.protocols import Target
from autotune_qnn.tuning.run_worker import CompareRequest, Measurement, RunRequest
from autotune_qnn.tuning.stopwatch import Stopwatch
from autotune_qnn.tuning.workspace import Workspace

Tag = TypeVar("Tag")
_BUILDER_NICENESS = 5
_MOST_BUILDERS = 16
_COMPARE_TIMEOUT = 60.0


@dataclass(frozen=True, slots=True)
class Job(Generic[Tag]):
    """A candidate on its way: the caller's tag, the module as JSON, the task's argument file. With `build_only` it
    is not measured.
    """

    tag: Tag
    module: str
    arguments: Path
    best_secs: float = math.inf
    build_only: bool = False


@dataclass(frozen=True, slots=True)
class Outcome(Generic[Tag]):
    """What became of a job; the caller owns the library, which is None where there is none."""

    tag: Tag
    measurement: Measurement
    library: Path | None


@dataclass(frozen=True, slots=True)
class Comparison(Generic[Tag]):
    """Libraries of one task to be measured in turns; the answer is one outcome a tag, without its library."""

    tags: tuple[Tag, ...]
    libraries: tuple[Path, ...]
    arguments: Path
    rounds: int


@dataclass(frozen=True, slots=True)
class _Built(Generic[Tag]):
    job: Job[Tag]
    library: Path


def worker_counts(cores: int, threads: int) -> tuple[int, int]:
    """How many builders to run beside kernels of `threads` threads, and how many of them pause while one is timed."""
    builders = max(1, min(cores, _MOST_BUILDERS))
    return builders, max(0, builders - max(0, cores - threads))


def runner_cores(cores: frozenset[int], threads: int) -> tuple[int, ...]:
    """The cores that kernels run on: the last ones, as many as there are threads; all where that leaves none."""
    ordered = sorted(cores)
    return tuple(ordered[-threads:] if threads < len(ordered) else ordered)


def _builder(workspace: Workspace, number: int, cores: Iterable[int]) -> WorkerProcess:
    log = workspace.path / f"build-{number}.log"
    return WorkerProcess("build", log, niceness=_BUILDER_NICENESS, cores=cores)


def _runner(workspace: Workspace, threads: int, cores: Iterable[int]) -> WorkerProcess:
    environment = {
        "TVM_NUM_THREADS": str(threads),
        "TVM_USE_RUNTIME_LIB": "1",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    return WorkerProcess("run", workspace.path / "run.log", environment, cores=cores)


class Measurer(Generic[Tag]):
    """Takes jobs, gives back their outcomes in any order; a context manager."""

    def __init__(
        self, target: Target, options: TuneOptions, workspace: Workspace, cores: int | None = None
    ) -> None:
        """`cores` is the number of CPU cores to share out; this process's own by default."""
        self._options = options
        self._workspace = workspace
        self._target = json.dumps(dict(target.mapping()))
        self._to_build: queue.Queue[Job[Tag] | None] = queue.Queue()
        self._to_run: queue.Queue[_Built[Tag] | Comparison[Tag] | None] = queue.Queue()
        self._done: queue.Queue[Outcome[Tag] | BaseException] = queue.Queue()
        self._closing = False
        self.in_flight = 0
        self.watch = Stopwatch("building", "measuring")
        mine = frozenset(os.sched_getaffinity(0))
        count, self._pausing = worker_counts(cores or len(mine), options.threads)
        kernels = runner_cores(mine, options.threads)
        others = tuple(sorted(mine - set(kernels))) or kernels
        self._gate: Any = threading.Lock() if self._pausing == count else nullcontext()
        self._builders = [
            _builder(workspace, number, kernels if number < self._pausing else others)
            for number in range(count)
        ]
        self._runner = _runner(workspace, options.threads, kernels)
        self._own_cores, self._others = mine, others
        work = [(self._build_loop, worker) for worker in self._builders]
        self._threads = [
            threading.Thread(target=self._guarded, args=(loop, worker), daemon=True)
            for loop, worker in [*work, (self._run_loop, self._runner)]
        ]
        for thread in self._threads:
            thread.start()

    @contextmanager
    def working(self) -> Iterator[None]:
        """Around work of the calling thread: it keeps off the cores that kernels are timed on or, where there are no
        others, nothing is timed meanwhile.
        """
        os.sched_setaffinity(0, self._others)
        try:
            with self._gate:
                yield
        finally:
            os.sched_setaffinity(0, self._own_cores)

    def submit(self, job: Job[Tag]) -> None:
        """Queue a candidate."""
        self.in_flight += 1
        self._to_build.put(job)

    def compare(self, comparison: Comparison[Tag]) -> None:
        """Queue a comparison."""
        self.in_flight += len(comparison.tags)
        self._to_run.put(comparison)

    def wait(self, timeout: float) -> list[Outcome[Tag]]:
        """Outcomes that are there, waiting at most `timeout` seconds for the first of them.

        An error of the machinery itself (a full disk, say) is raised here.
        """
        results: list[Outcome[Tag]] = []
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
                    self.in_flight -= len(item.tags) if isinstance(item, Comparison) else 1

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
            library = self._workspace.new_file(".so")
            request = BuildRequest(job.module, self._target, str(library))
            with self.watch.timed("building"):
                failure = _attempt(worker, request, self._options.timeout, Status.COMPILE_ERROR)
            if isinstance(failure, Measurement):
                library.unlink(missing_ok=True)
                self._done.put(Outcome(job.tag, failure, None))
            elif job.build_only:
                self._done.put(Outcome(job.tag, Measurement(Status.OK), library))
            else:
                self._to_run.put(_Built(job, library))

    def _run_loop(self, worker: WorkerProcess) -> None:
        while (item := self._to_run.get()) is not None and not self._closing:
            with self._paused(), self.watch.timed("measuring"):
                outcomes = (
                    self._compared(worker, item)
                    if isinstance(item, Comparison)
                    else [self._run(worker, item)]
                )
            for outcome in outcomes:
                self._done.put(outcome)

    def _run(self, worker: WorkerProcess, built: _Built[Tag]) -> Outcome[Tag]:
        options = self._options
        request = RunRequest(
            library=str(built.library),
            arguments=str(built.job.arguments),
            number=options.number,
            repeat=options.repeat,
            min_repeat_ms=options.min_repeat_ms,
            best_secs=built.job.best_secs,
        )
        result = _attempt(worker, request, options.timeout, Status.CRASH)
        assert isinstance(result, Measurement)
        if result.status is Status.RUNTIME_ERROR:
            worker.stop()
        if result.status is Status.OK:
            return Outcome(built.job.tag, result, built.library)
        built.library.unlink(missing_ok=True)
        return Outcome(built.job.tag, result, None)

    def _compared(self, worker: WorkerProcess, comparison: Comparison[Tag]) -> list[Outcome[Tag]]:
        request = CompareRequest(
            tuple(map(str, comparison.libraries)),
            str(comparison.arguments),
            comparison.rounds,
            self._options.min_repeat_ms,
        )
        answer = _attempt(worker, request, _COMPARE_TIMEOUT, Status.CRASH)
        measurements = [answer] * len(comparison.tags) if isinstance(answer, Measurement) else answer
        pairs = zip(comparison.tags, measurements, strict=True)
        return [Outcome(tag, measurement, None) for tag, measurement in pairs]

    @contextmanager
    def _paused(self) -> Iterator[None]:
        """Keep as many cores free of builders as a kernel has threads."""
        pausing = self._builders[: self._pausing]
        with self._gate:
            for worker in pausing:
                worker.pause()
            try:
                yield
            finally:
                for worker in pausing:
                    worker.resume()


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

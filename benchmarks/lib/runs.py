"""Runs prepared jobs of one case in turns, each in a process of its own, and makes their rows."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from autotune_qnn.errors import VerificationError
from autotune_qnn.evaluation.latency import Latency, Plan, measure
from autotune_qnn.evaluation.metrics import Agreement, AgreementCounter
from autotune_qnn.frontends.base import Array
from autotune_qnn.frontends.process import FrameProcess
from benchmarks.lib.job import Job
from benchmarks.lib.preparation import Prepared
from benchmarks.lib.rows import Row
from benchmarks.lib.source import Source

_MODULE = "benchmarks.lib.worker"
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TVM_NUM_THREADS")


class Runner(Protocol):
    """An engine with a network loaded."""

    note: str

    def run(self, data: Array) -> Array:
        """The output for one batch."""
        ...

    def time(self, inputs: Sequence[Array], number: int, repeat: int) -> list[float]:
        """Seconds a run, `repeat` times, each the mean of `number` runs in a row."""
        ...

    def cores(self) -> float:
        """CPU seconds of the process over wall seconds, in all that was timed."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class EngineProcess(FrameProcess):
    """A worker (see `worker`) as a runner. VerificationError where it dies.

    It is stopped while it has no request, since the threads of many engines go on waiting for work in a busy loop.
    """

    def __init__(self, job: Job, folder: Path) -> None:
        variables = dict.fromkeys(THREAD_VARIABLES, str(job.threads))
        super().__init__(job.engine, job.model, _MODULE, [job.to_json(), str(folder)], variables=variables)
        self.note = str(self.ready["note"])
        self._placed: Array | None = None
        self._wall = self._cpu = 0.0
        self._signal(signal.SIGSTOP)

    def exchange(self, request: dict[str, Any]) -> dict[str, Array]:
        """The answer to one request."""
        self._signal(signal.SIGCONT)
        try:
            return super().exchange(request)
        finally:
            self._signal(signal.SIGSTOP)

    def close(self) -> None:
        """End the process."""
        self._signal(signal.SIGCONT)
        super().close()

    def run(self, data: Array) -> Array:
        """The output for one batch."""
        return self.exchange({"command": "run", "data": data})["output"]

    def time(self, inputs: Sequence[Array], number: int, repeat: int) -> list[float]:
        """Seconds a run; the input goes over the pipe only when it is another than before."""
        (data,) = inputs
        if self._placed is not data:
            self.exchange({"command": "set", "data": data})
            self._placed = data
        answers = [self.exchange({"command": "time", "number": number}) for _ in range(repeat)]
        self._wall += sum(float(answer["seconds"]) for answer in answers) * number
        self._cpu += sum(float(answer["cpu"]) for answer in answers) * number
        return [float(answer["seconds"]) for answer in answers]

    def cores(self) -> float:
        """CPU seconds over wall seconds of everything timed."""
        return self._cpu / self._wall if self._wall else 0.0

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)


class _Survivor:
    """A runner whose death ends only its own row."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self.error = ""

    def time(self, inputs: Sequence[Array], number: int, repeat: int) -> list[float]:
        """As the runner says; once it has failed, 1 s at once."""
        if not self.error:
            try:
                return self.runner.time(inputs, number, repeat)
            except VerificationError as error:
                self.error = str(error)
        return [1.0] * repeat


def run_case(
    prepared: Sequence[Prepared],
    plan: Plan,
    start: Callable[[Job, Path], Runner] = EngineProcess,
) -> list[Row]:
    """The rows of jobs of one network, batch and number of threads, in their order.

    All engines are loaded, their outputs compared with the source framework's, and then they are timed in turns.
    """
    rows: dict[str, Row] = {}
    runners: dict[str, _Survivor] = {}
    agreements: dict[str, Agreement] = {}
    try:
        for entry in prepared:
            name = entry.job.engine
            if entry.failed is not None or entry.source is None or entry.folder is None:
                rows[name] = entry.failed or _failed(entry.job, "not prepared")
                continue
            try:
                runner = start(entry.job, entry.folder)
                runners[name] = _Survivor(runner)
                agreements[name] = agreement(runner, entry.source)
            except VerificationError as error:
                rows[name] = _failed(entry.job, str(error))
                if name in runners:
                    runners.pop(name).runner.close()
        if runners:
            ready = [entry for entry in prepared if entry.job.engine in runners]
            rows |= _timed(ready, runners, agreements, plan)
    finally:
        for survivor in runners.values():
            survivor.runner.close()
    return [rows[entry.job.engine] for entry in prepared]


def agreement(runner: Runner, source: Source) -> Agreement:
    """How far the runner's outputs are the source framework's, over every input that the source has."""
    counter = AgreementCounter()
    for data, expected in zip(source.inputs(), source.expected(), strict=True):
        output = runner.run(data)
        if output.shape != expected.shape or output.dtype != expected.dtype:
            raise VerificationError(
                f"the output is {output.dtype} {output.shape}, not {expected.dtype} {expected.shape}"
            )
        for mine, theirs in zip(output, expected, strict=True):
            counter.add([mine], [theirs])
    return counter.result()


def _timed(
    ready: Sequence[Prepared],
    runners: dict[str, _Survivor],
    agreements: dict[str, Agreement],
    plan: Plan,
) -> dict[str, Row]:
    source = ready[0].source
    assert source is not None
    data = np.ascontiguousarray(source.inputs()[0])
    latencies, noise = measure(runners, [data], plan)
    rows = {}
    for entry in ready:
        survivor = runners[entry.job.engine]
        if survivor.error:
            rows[entry.job.engine] = _failed(entry.job, survivor.error)
        else:
            rows[entry.job.engine] = _row(
                entry.job,
                source,
                latencies[entry.job.engine],
                agreements[entry.job.engine],
                survivor.runner,
                spread=noise.spread,
            )
    return rows


def _row(
    job: Job, source: Source, latency: Latency, agreed: Agreement, runner: Runner, *, spread: float
) -> Row:
    return Row(
        job.engine,
        job.model,
        job.threads,
        job.batch,
        median_ms=latency.median_ms,
        p10_ms=latency.p10_ms,
        p90_ms=latency.p90_ms,
        min_ms=latency.min_ms,
        repeats=latency.repeats,
        runs_per_repeat=latency.runs_per_repeat,
        identical=agreed.identical_samples == agreed.samples,
        agreement=agreed.identical_elements,
        top1=agreed.top1,
        cores=round(runner.cores(), 2),
        gmacs=round(source.macs / latency.median_ms / 1e6, 2),
        spin_spread=spread,
        note=runner.note,
    )


def _failed(job: Job, error: str) -> Row:
    return Row(job.engine, job.model, job.threads, job.batch, error=error)

"""Prepares networks and engines' forms of them, each in a process of its own, unless the cache holds them."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from autotune_qnn.errors import AutotuneQnnError, LogStoreError, MissingDependencyError, ModelError
from benchmarks.lib import source
from benchmarks.lib.command import ROOT
from benchmarks.lib.engines import ENGINES
from benchmarks.lib.job import Job
from benchmarks.lib.prepare import READY
from benchmarks.lib.rows import Row
from benchmarks.lib.source import Source

_ABSENT = (LogStoreError.exit_code, MissingDependencyError.exit_code)
_LONGEST = 300


@dataclass(frozen=True)
class Prepared:
    """A job that can be run, or the row that says why not."""

    job: Job
    source: Source | None = None
    folder: Path | None = None
    failed: Row | None = None


class _PreparingError(Exception):
    """What a preparing process said, and whether something is merely absent."""

    def __init__(self, text: str, absent: bool) -> None:
        super().__init__(text)
        self.absent = absent


def prepare(jobs: Iterable[Job], say: Callable[[str], None]) -> list[Prepared]:
    """Every job, prepared; `say` is told what is being done. With `trials`, tuning comes first: it changes logs."""
    jobs = list(jobs)
    for job in jobs:
        if job.trials:
            _attempt(job, say, _tune)
    return [_attempt(job, say, _prepare) for job in jobs]


def _attempt(job: Job, say: Callable[[str], None], work: Callable[..., Prepared]) -> Prepared:
    def failed(text: str, absent: bool) -> Prepared:
        return Prepared(
            job, failed=Row(job.engine, job.model, job.threads, job.batch, error=text, absent=absent)
        )

    refusal = ENGINES[job.engine].refuses(job.network)
    if refusal:
        return failed(refusal, True)
    try:
        return work(job, _source(job, say), say)
    except _PreparingError as failure:
        return failed(str(failure), failure.absent)
    except ModelError as error:  # a file that is not there
        return failed(str(error), True)
    except AutotuneQnnError as error:
        return failed(str(error), error.exit_code in _ABSENT)


def _source(job: Job, say: Callable[[str], None]) -> Source:
    found = source.read(job)
    if found is None:
        _run("source", job, source.source_folder(job), say)
        found = source.read(job)
    if found is None:
        raise ModelError(f"the source of {job.model} could not be made")
    return found


def _tune(job: Job, made: Source, say: Callable[[str], None]) -> Prepared:
    if ENGINES[job.engine].tunes:
        _run("tune", job, made.folder, say)
    return Prepared(job, made)


def _prepare(job: Job, made: Source, say: Callable[[str], None]) -> Prepared:
    folder = ENGINES[job.engine].folder(job, made)
    if not (folder / READY).is_file():
        _run("form", job, folder, say)
    return Prepared(job, made, folder)


def _run(wanted: str, job: Job, folder: Path, say: Callable[[str], None]) -> None:
    """Run the preparing process; its output goes to `prepare.log` in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    log = folder / f"{wanted}.log"
    with log.open("wb") as output:
        command = [sys.executable, "-m", "benchmarks.lib.prepare", wanted, job.to_json()]
        code = subprocess.run(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False
        ).returncode
    what = "" if wanted == "source" else f" for {job.engine}, {job.threads} thread(s)"
    say(f"{wanted} of {job.model}, batch {job.batch}{what}: {time.monotonic() - start:.0f} s")
    if code:
        raise _PreparingError(_last_line(log, code), code in _ABSENT)


def _last_line(log: Path, code: int) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:_LONGEST] if lines else f"the preparing process ended with code {code}"

"""This package: with default schedules, with the best of a log, and with the best that one tuner has found."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import autotune_qnn
from autotune_qnn.errors import LogStoreError
from autotune_qnn.frontends.base import Array, ImportedModel
from autotune_qnn.host import cpu_model
from autotune_qnn.logs import LogHeader, LogStore, TrialRecord, TunerName
from autotune_qnn.logs.pool import shipped_logs
from benchmarks.lib.engines.base import Engine, Running, Step
from benchmarks.lib.job import Job
from benchmarks.lib.source import Source

if TYPE_CHECKING:
    from autotune_qnn.build.history import History
    from autotune_qnn.engines.relax import LoweredModule, TargetSpec

PREFIX = "autotune_qnn"
_LIBRARY = "network.so"
_PACKAGE = Path(autotune_qnn.__file__).parent


class Ours(Engine):
    """Builds from the log's best records: of `tuners`, or, without any, from default schedules."""

    packages = ("apache-tvm", "apache-tvm-ffi")
    per_threads = True

    def __init__(self, name: str, tuners: tuple[TunerName, ...]) -> None:
        super().__init__(f"{PREFIX}_{name}")
        self.tuners = tuners
        self.tunes = bool(tuners)

    def ingredients(self, job: Job, source: Source) -> list[str]:
        """Also the package's own code, the target and the content of the logs."""
        made_from = [*super().ingredients(job, source), source.folder.name, _code(), job.target]
        return [*made_from, *self._log(job)]

    def _log(self, job: Job) -> list[str]:
        """What the logs hold that may serve: those of the folder and the shipped ones."""
        if not self.tuners:
            return []
        roots = [job.log_dir, *([shipped] if (shipped := shipped_logs()) else [])]
        files = sorted(path for root in roots for path in root.glob("*/*/records*.jsonl"))
        return [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]

    def tune(self, job: Job, source: Source) -> None:
        """Fill the log up to `job.trials` trials of this engine's tuners."""
        from autotune_qnn.tuning.options import TuneOptions, TunerChoice
        from autotune_qnn.tuning.tuner import tune

        lowered = _Lowered.of(job, source)
        choice = TunerChoice.BOTH if len(self.tuners) > 1 else TunerChoice(self.tuners[0].value)
        with lowered.store(job) as store:
            others = sum(record.tuner not in self.tuners for record in store.records())
            options = TuneOptions(tuner=choice, trials=job.trials + others, threads=job.threads)
            tune(lowered.module.tasks, lowered.target, store, options)

    def prepare(self, job: Job, source: Source, folder: Path) -> None:
        """Import, lower, build. LogStoreError where the log holds nothing for it."""
        from autotune_qnn.build.history import no_history
        from autotune_qnn.build.model import build_model

        lowered = _Lowered.of(job, source)
        history = self._history(job, lowered) if self.tuners else no_history
        build_model(lowered.model, lowered.target, history, job.threads, folder / _LIBRARY, lowered.module)

    def _history(self, job: Job, lowered: _Lowered) -> History:
        """What `build` takes, of this engine's tuners alone."""
        from autotune_qnn.build.history import LoggedHistory
        from autotune_qnn.cli.common import open_pool

        logged = LoggedHistory(None, open_pool(job.log_dir, lowered.target, lowered.header(job)))

        def of_tuners(records: Sequence[TrialRecord]) -> list[TrialRecord]:
            return [record for record in records if record.tuner in self.tuners]

        if not any(of_tuners(logged.known(task)) for task in lowered.module.tasks):
            names = " or ".join(tuner.value for tuner in self.tuners)
            raise LogStoreError(
                f"there is no tuning log with trials of {names} for these kernels, neither in {job.log_dir} nor in "
                "the history that ships; --trials N tunes"
            )
        return lambda task: of_tuners(logged(task))

    def load(self, job: Job, source: Source, folder: Path) -> Running:
        """In a process with TVM's runtime alone."""
        from autotune_qnn.runtime.session import Session

        session = Session.load(folder / _LIBRARY, threads=job.threads)
        manifest = session.manifest

        def run(data: Array) -> Array:
            return session.run([data])[0]

        def step(data: Array) -> Step:
            return session.bind([data])

        tasks = f"{manifest.tuned} tuned, {manifest.fallback} default schedules"
        missing = f", {manifest.missing} missing" if manifest.missing else ""
        return Running(run, step, f"{source.arithmetic.value} arithmetic; {tasks}{missing}")


@dataclass(frozen=True)
class _Lowered:
    """The network as kernels for a target."""

    model: ImportedModel
    target: TargetSpec
    module: LoweredModule

    @classmethod
    def of(cls, job: Job, source: Source) -> _Lowered:
        """Import the source and lower it."""
        from autotune_qnn.engines import relax
        from autotune_qnn.frontends import get_frontend

        target = relax.TargetSpec.parse(job.target)
        model = get_frontend(job.network.kind.value).load(source.model, source.options())
        return cls(model, target, relax.lower(model.mod, target, job.threads))

    def header(self, job: Job) -> LogHeader:
        """The conditions of this run."""
        return LogHeader(
            target=self.target.canonical,
            tvm_version=importlib.metadata.version("apache-tvm"),
            cpu=cpu_model(),
            threads=job.threads,
            package_version=autotune_qnn.__version__,
            model=self.model.name,
            arithmetic=self.model.arithmetic.value,
        )

    def store(self, job: Job) -> LogStore:
        """The log of this network, target and number of threads."""
        return LogStore.open(job.log_dir, self.target.canonical, self.model.name, self.header(job))


@functools.lru_cache(maxsize=1)
def _code() -> str:
    """A hash of the package's source."""
    digest = hashlib.sha256()
    for path in sorted(_PACKAGE.rglob("*.py")):
        digest.update(str(path.relative_to(_PACKAGE)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()

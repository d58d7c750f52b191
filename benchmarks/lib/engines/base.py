"""What an engine is: something that prepares its own form of a network once, and runs it in a process of its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from autotune_qnn.errors import UsageError
from autotune_qnn.frontends.base import Array
from benchmarks.lib.job import Job
from benchmarks.lib.layers import Layer
from benchmarks.lib.networks import Network
from benchmarks.lib.source import Source, ingredients, version_of

Step = Callable[[], object]
"""Runs the network once on inputs that are in place already. Fetching the output is no part of it."""


@dataclass(frozen=True)
class Running:
    """A loaded network. `run` gives the output for one batch; `step` sets a batch and gives what runs it; `note` says
    what of the engine's form a reader has to know.
    """

    run: Callable[[Array], Array]
    step: Callable[[Array], Step]
    note: str = ""


class Engine(ABC):
    """One engine. `packages` are the distributions that it needs, `revision` is raised whenever `prepare` changes;
    `per_threads` is whether what it prepares depends on the number of threads, `tunes` whether `tune` does anything,
    `profiles` whether it can tell the times of single layers.
    """

    packages: tuple[str, ...] = ()
    revision = 1
    per_threads = False
    tunes = False
    profiles = False

    def __init__(self, name: str) -> None:
        self.name = name

    def refuses(self, network: Network) -> str:
        """Why this engine cannot run the network; empty where it can."""
        del network
        return ""

    def ingredients(self, job: Job, source: Source) -> list[str]:
        """What decides how the prepared files come out. MissingDependencyError where a package is not there."""
        threads = job.threads if self.per_threads else 0
        return [
            *ingredients(job),
            f"{self.revision} {threads}",
            *(f"{name} {version_of(name)}" for name in self.packages),
        ]

    def folder(self, job: Job, source: Source) -> Path:
        """Where its files for the job are kept."""
        return job.folder(self.name, self.ingredients(job, source))

    def tune(self, job: Job, source: Source) -> None:
        """Fills logs, before the ingredients of any job are asked for. Only where `tunes`."""
        raise UsageError(f"{self.name} has nothing to tune for {job.model} in {source.folder}")

    @abstractmethod
    def prepare(self, job: Job, source: Source, folder: Path) -> None:
        """Makes in `folder` whatever loading needs. Runs once, in a process of its own."""

    @abstractmethod
    def load(self, job: Job, source: Source, folder: Path) -> Running:
        """Loads the network on `job.threads` threads. Runs in the process that is then timed."""

    def layers(self, job: Job, source: Source, folder: Path, seconds: float) -> list[Layer]:
        """Convolutions and dense layers in order of execution with the median times that the engine's own profiler
        gives of them, of runs for that many seconds. Only where `profiles`.
        """
        raise UsageError(f"{self.name} does not tell the times of single layers of {job.model}")

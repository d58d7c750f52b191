"""What the tuner asks of a search strategy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from autotune_qnn.kernels.templates.base import Config
from autotune_qnn.logs import TrialRecord, TunerName
from autotune_qnn.tuning.cost_model import Features


@dataclass(frozen=True, slots=True, eq=False)
class Proposal:
    """A candidate: its traced schedule, the configuration that led to it, where it came from and its features;
    `candidate` is MetaSchedule's own form of it, for sketches.
    """

    schedule: Any
    config: Config | None
    source: str
    features: Features = ()
    candidate: Any = None


class Strategy(Protocol):
    """A search over one task. It never proposes the same candidate twice, nor one that a record holds."""

    tuner: TunerName

    @property
    def exhausted(self) -> bool:
        """Whether there is nothing left to propose."""

    @property
    def overlaps(self) -> bool:
        """Whether new candidates may be asked for while some are still being measured."""

    def restore(self, records: Sequence[TrialRecord]) -> int:
        """Take over what an earlier run measured, before the first proposal. Returns how many were usable."""

    def propose(self, count: int) -> list[Proposal]:
        """Up to `count` new candidates; none when the search is exhausted."""

    def observe(self, results: Sequence[tuple[Proposal, float]]) -> None:
        """Learn from measured proposals: seconds, inf for a failure."""

"""What the tuner asks of a search strategy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from autotune_qnn.kernels.templates.base import Config
from autotune_qnn.logs import TrialRecord, TunerName


@dataclass(frozen=True, slots=True, eq=False)
class Proposal:
    """A candidate: MetaSchedule's MeasureCandidate (its `sch` is the schedule), and where it came from."""

    candidate: Any
    config: Config | None
    source: str

    @property
    def schedule(self) -> Any:
        """The candidate's traced schedule."""
        return self.candidate.sch


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

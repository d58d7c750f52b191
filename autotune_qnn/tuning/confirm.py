"""The last word on each task: its leaders, measured once more in turns, with the default schedule among them.

Trials are measured minutes apart, on a machine that others use too. What a build takes is therefore decided by a
comparison in which every candidate meets the same conditions, and the default wins unless something is faster by
more than the measurement can be trusted to.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tvm

from autotune_qnn.kernels.templates.base import ScheduleTemplate
from autotune_qnn.logs import Confirmation, LogStore, Status, TrialRecord
from autotune_qnn.tuning.measure import Comparison, Job, Measurer
from autotune_qnn.tuning.replay import replay
from autotune_qnn.tuning.run_worker import Measurement
from autotune_qnn.tuning.trust import TraceChecker

LEADERS = 3
ROUNDS = 8
MARGIN = 0.005
"""How much faster than the default a schedule has to be to take its place."""


def _expected(record: TrialRecord) -> float:
    """What a trial might have taken on a quiet machine: a neighbour on the same physical core slows a kernel and the
    spin loop beside it for seconds on end, and such a trial is worth a second look.
    """
    return record.seconds / max(1.0, record.noise)


class Libraries:
    """The built candidates of one task that may be wanted again: its leaders, and the default."""

    def __init__(self, template: ScheduleTemplate | None) -> None:
        """`template` tells which configuration is the default."""
        self._default = None if template is None else template.default().as_dict()
        self._name = "" if template is None else template.name
        self._kept: list[tuple[TrialRecord, Path]] = []

    def is_default(self, record: TrialRecord) -> bool:
        """Whether a record measured the default schedule."""
        return (
            bool(record.config) and record.source == self._name and dict(record.config or {}) == self._default
        )

    def keep(self, record: TrialRecord, library: Path | None) -> None:
        """Take a library over; those that will not be wanted are deleted."""
        if library is None:
            return
        self._kept.append((record, library))
        self._kept.sort(key=lambda pair: _expected(pair[0]))
        leaders = 0
        for pair in list(self._kept):
            if self.is_default(pair[0]):
                continue
            leaders += 1
            if leaders > LEADERS:
                pair[1].unlink(missing_ok=True)
                self._kept.remove(pair)

    def library(self, record: TrialRecord) -> Path | None:
        """A record's library, if it is still there."""
        return next((path for kept, path in self._kept if kept.trial == record.trial), None)

    def candidates(self, records: Sequence[TrialRecord]) -> list[TrialRecord]:
        """Of a task's good records (the one to build with first) those to compare: that one, the fastest, and the
        default.
        """
        fastest = sorted(records, key=_expected)[:LEADERS]
        default = [record for record in records if self.is_default(record)][:1]
        chosen = {record.trial: record for record in (*records[:1], *fastest, *default)}
        return list(chosen.values())


@dataclass
class _Contest:
    """One task's comparison on its way."""

    mod: Any
    arguments: Path
    libraries: Libraries
    records: list[TrialRecord]
    built: dict[int, Path] = field(default_factory=dict)
    results: dict[int, Measurement] = field(default_factory=dict)
    missing: int = 0

    def ranked(self) -> list[TrialRecord]:
        """The winner first: the fastest, or the default where that is as fast."""
        order = sorted((r for r in self.records if r.trial in self.results), key=self._seconds)
        default = next((record for record in order if self.libraries.is_default(record)), None)
        if default is not None and self._seconds(default) <= self._seconds(order[0]) * (1 + MARGIN):
            order.remove(default)
            order.insert(0, default)
        return order

    def _seconds(self, record: TrialRecord) -> float:
        return min(self.results[record.trial].run_secs)


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A record in a contest: what the measurer carries about."""

    contest: Any
    record: TrialRecord


class Confirmer:
    """Runs the comparisons of several tasks through a measurer that has nothing else to do."""

    def __init__(self, store: LogStore, measurer: Measurer[Any], checker: TraceChecker) -> None:
        """`checker` tries traces of earlier runs, whose libraries are gone."""
        self._store = store
        self._measurer = measurer
        self._checker = checker

    def run(self, tasks: Sequence[tuple[str, Any, Path, Libraries]], stopped: Callable[[], bool]) -> int:
        """Compare each task's leaders (key, module, argument file, libraries) and record the verdicts. Returns how
        many tasks were decided.
        """
        session = time.time()
        decided = 0
        for key, mod, arguments, libraries in tasks:
            records = libraries.candidates(self._store.ranked(key))
            if len(records) > 1:
                self._begin(_Contest(mod, arguments, libraries, records))
        while self._measurer.in_flight:
            if stopped():
                self._measurer.cancel()
            for outcome in self._measurer.wait(0.25):
                decided += self._take(outcome.tag, outcome.measurement, outcome.library, session)
        return decided

    def _begin(self, contest: _Contest) -> None:
        for record in list(contest.records):
            library = contest.libraries.library(record)
            if library is not None:
                contest.built[record.trial] = library
            elif self._checker.accepts(record, contest.mod):
                module = tvm.ir.save_json(replay(record, contest.mod).mod)
                contest.missing += 1
                self._measurer.submit(
                    Job(Candidate(contest, record), module, contest.arguments, build_only=True)
                )
        self._compare_built(contest)

    def _compare_built(self, contest: _Contest) -> None:
        ready = [record for record in contest.records if record.trial in contest.built]
        if contest.missing or len(ready) < 2:
            return
        tags = tuple(Candidate(contest, record) for record in ready)
        paths = tuple(contest.built[record.trial] for record in ready)
        self._measurer.compare(Comparison(tags, paths, contest.arguments, ROUNDS))

    def _take(self, tag: Candidate, measurement: Measurement, library: Path | None, session: float) -> int:
        """Note a build or a measurement. Returns 1 when that decides a task."""
        contest: _Contest = tag.contest
        if contest.missing:
            contest.missing -= 1
            if library is not None:
                contest.built[tag.record.trial] = library
            self._compare_built(contest)
            return 0
        if measurement.status is Status.OK:
            contest.results[tag.record.trial] = measurement
        if len(contest.results) < len(contest.built):
            return 0
        for rank, record in enumerate(contest.ranked()):
            result = contest.results[record.trial]
            self._store.confirm(
                Confirmation(
                    record.task_key,
                    record.trial,
                    record.timestamp,
                    session,
                    rank,
                    result.run_secs,
                    result.noise,
                )
            )
        return 1

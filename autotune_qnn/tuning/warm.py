"""The warm start: what other logs say about this run's tasks.

The cost model learns from every recorded task, and each task's search begins with what was best on the same task
elsewhere, and then on the most similar shapes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from autotune_qnn.kernels.templates.base import Config, ScheduleTemplate
from autotune_qnn.logs import LogStore, Status, TrialRecord
from autotune_qnn.logs.pool import RecordPool
from autotune_qnn.tuning.cost_model import Features, Samples, SpeedModel
from autotune_qnn.tuning.features import NAMES, VERSION, shape_of, workload_shape
from autotune_qnn.tuning.protocols import Task
from autotune_qnn.tuning.search import nearest

_SAME = 2
_SIMILAR = 4


@dataclass(frozen=True, slots=True)
class WarmSummary:
    """What helped: records that the cost model learnt from, the logs they came from, tasks that other logs hold."""

    records: int = 0
    logs: int = 0
    same_tasks: int = 0


@dataclass(frozen=True, slots=True)
class _Leader:
    key: str
    source: str
    shape: Features
    config: dict[str, int]


def recorded_features(record: TrialRecord) -> Features | None:
    """What the cost model saw of a trial; None where the log does not hold it in this version's terms."""
    if len(record.features) != 1 + len(NAMES) or record.features[0] != VERSION:
        return None
    return record.features[1:]


def stored_features(features: Features) -> Features:
    """Features as a record keeps them: after their version."""
    return (float(VERSION), *features) if features else ()


def samples_of(records: Sequence[TrialRecord]) -> Samples:
    """What records teach a cost model."""
    pairs = ((recorded_features(record), record.seconds) for record in records)
    return [(features, seconds) for features, seconds in pairs if features is not None]


class WarmStart:
    """Teaches a model from this model's own log and from a pool of others, and knows where searches should begin."""

    def __init__(
        self, tasks: Sequence[Task], store: LogStore, pool: RecordPool | None, model: SpeedModel
    ) -> None:
        """`pool` is None where the run is to start cold: then only its own log counts."""
        self._pool = pool
        self._leaders: list[_Leader] = []
        for key in store.task_keys():
            model.learn(key, samples_of(store.records(key)))
        names = {task.key for task in tasks}
        records = logs = 0
        for log in pool.logs if pool is not None else ():
            helped = self._take_over(log, names, model)
            records += helped
            logs += helped > 0
        same = 0 if pool is None else sum(bool(pool.same(key)) for key in names)
        self.summary = WarmSummary(records, logs, same)

    def _take_over(self, log: LogStore, own: set[str], model: SpeedModel) -> int:
        """Teach the model one log. Figures of another CPU say how its schedules compare with each other, but not
        with those of this CPU: they never mix within a task.
        """
        assert self._pool is not None
        helped = 0
        for key in log.task_keys():
            records = log.records(key)
            if self._pool.comparable(log):
                helped += model.learn(key, samples_of(records))
            elif key not in own:
                helped += model.learn(f"{log.path}:{key}", samples_of(records))
            self._leaders.extend(_leaders(key, log.ranked(key)[:1]))
        return helped

    def trials_elsewhere(self, key: str) -> int:
        """How many comparable trials of this very task other logs hold."""
        return 0 if self._pool is None else sum(comparable for _, comparable in self._pool.same(key))

    def first(self, task: Task, template: ScheduleTemplate) -> list[Config]:
        """Configurations to try before any other, the most promising first."""
        if self._pool is None:
            return []
        space = template.space()
        wanted = [
            record.config
            for record in self._pool.ranked(task.key)
            if record.config and record.source == template.name
        ][:_SAME]
        shape = workload_shape(task.mod, task.macs)
        similar = sorted(
            (leader for leader in self._leaders if leader.source == template.name and leader.key != task.key),
            key=lambda leader: math.dist(leader.shape, shape),
        )
        found: dict[Config, None] = {}
        for values in [*wanted, *(leader.config for leader in similar[: 2 * _SIMILAR])]:
            config = nearest(space, dict(values))
            if config is not None and len(found) < _SAME + _SIMILAR:
                found[config] = None
        return list(found)


def _leaders(key: str, records: Sequence[TrialRecord]) -> list[_Leader]:
    found = []
    for record in records:
        features = recorded_features(record)
        if features is not None and record.config and record.status is Status.OK:
            found.append(_Leader(key, record.source, shape_of(features), dict(record.config)))
    return found

"""The search over a schedule template's knobs (--tuner autotvm): `search` decides, this schedules."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import tvm_ffi

from autotune_qnn.errors import first_line
from autotune_qnn.kernels.templates.base import Config, ScheduleRejected, ScheduleTemplate
from autotune_qnn.logs import TrialRecord, TunerName
from autotune_qnn.tuning.cost_model import Features, TaskModel
from autotune_qnn.tuning.features import features
from autotune_qnn.tuning.protocols import Task
from autotune_qnn.tuning.replay import TVM_ERRORS, new_schedule
from autotune_qnn.tuning.search import KnobSearch
from autotune_qnn.tuning.strategies.base import Proposal

_KEPT_SCHEDULES = 128
_LOGGER = logging.getLogger(__name__)


class TemplateStrategy:
    """Implements Strategy over one ScheduleTemplate."""

    tuner = TunerName.AUTOTVM
    overlaps = True

    def __init__(
        self,
        task: Task,
        template: ScheduleTemplate,
        model: TaskModel,
        seed: int,
        *,
        threads: int = 1,
        first: Sequence[Config] = (),
        guided: bool = True,
    ) -> None:
        """`first` are configurations to try right after the default; without `guided` the search is random."""
        self.exhausted = False
        self._task = task
        self._template = template
        self._space = template.space()
        self._threads = threads
        self._modules: set[int] = set()
        self._schedules: OrderedDict[Config, Any] = OrderedDict()
        self._search = KnobSearch(
            self._space, template.default(), self._describe, model, seed, first=first, guided=guided
        )

    def restore(self, records: Sequence[TrialRecord]) -> int:
        """Take over earlier records of this template. Returns how many were usable."""
        count = 0
        for record in records:
            if record.tuner is not self.tuner or record.source != self._template.name or not record.config:
                continue
            config = Config.from_mapping(record.config)
            if self._space.is_valid(config):
                self._search.restore(config, record.seconds)
                count += 1
        return count

    def propose(self, count: int) -> list[Proposal]:
        """Up to `count` configurations that have not been tried, scheduled."""
        proposals = []
        for config in self._search.propose(count):
            schedule = self._schedules.pop(config, None) or self._apply(config)
            proposals.append(
                Proposal(schedule, config, self._template.name, self._search.features_of(config))
            )
        self.exhausted = not proposals
        return proposals

    def observe(self, results: Sequence[tuple[Proposal, float]]) -> None:
        """Learn from measured proposals."""
        for proposal, seconds in results:
            assert proposal.config is not None
            self._search.observe(proposal.config, seconds)

    def _describe(self, config: Config) -> Features | None:
        """Schedule a configuration; None when it does not fit, or leads to a module that there was before."""
        schedule = self._apply(config)
        if schedule is None:
            return None
        identity = tvm_ffi.structural_hash(schedule.mod)
        if identity in self._modules:
            return None
        self._modules.add(identity)
        self._schedules[config] = schedule
        if len(self._schedules) > _KEPT_SCHEDULES:
            self._schedules.popitem(last=False)
        return features(schedule.mod, self._task.macs, self._threads)

    def _apply(self, config: Config) -> Any | None:
        schedule = new_schedule(self._task.mod)
        try:
            self._template.apply(schedule, config)
        except ScheduleRejected:
            return None
        except TVM_ERRORS as error:
            said = first_line(error)
            _LOGGER.info("%s: %s does not apply: %.200s", self._task.name, config.as_dict(), said)
            return None
        return schedule

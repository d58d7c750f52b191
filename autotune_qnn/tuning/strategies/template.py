"""The search over a schedule template's knobs (--tuner autotvm).

The template's default comes first, then neighbours of it and random configurations. With enough measured, an
evolution over the knobs, guided by a cheap model of them, makes a pool; the pool's best are scheduled and
ranked by the model over modules, and a share of the picks stays random.
"""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Iterable, Sequence
from typing import Any

import tvm_ffi

from autotune_qnn.kernels.templates.base import Config, ConfigSpace, ScheduleRejected, ScheduleTemplate
from autotune_qnn.logs import TrialRecord, TunerName
from autotune_qnn.tuning.cost_model import KnobCostModel, ModuleCostModel
from autotune_qnn.tuning.protocols import Task
from autotune_qnn.tuning.replay import TVM_ERRORS, new_schedule
from autotune_qnn.tuning.strategies.base import Proposal
from autotune_qnn.tuning.strategies.context import candidate

_ENUMERABLE = 4096
_WARMUP = 8
_POPULATION = 64
_GENERATIONS = 3
_PARENTS = 16
_POOL_FACTOR = 3
_RANDOM_SHARE = 0.15
_ATTEMPTS = 400
_RESTORED_MODULES = 48
_LOGGER = logging.getLogger(__name__)


class TemplateStrategy:
    """Implements Strategy over one ScheduleTemplate."""

    tuner = TunerName.AUTOTVM
    overlaps = True

    def __init__(
        self, task: Task, template: ScheduleTemplate, context: Any, model: ModuleCostModel, seed: int
    ) -> None:
        """`context` is the task's TuneContext, which the model over modules needs."""
        self.exhausted = False
        self._task = task
        self._template = template
        self._space: ConfigSpace = template.space()
        self._context = context
        self._model = model
        self._knob_model = KnobCostModel(self._space, seed)
        self._rng = random.Random(seed)
        self._seen: set[Config] = set()
        self._measured: dict[Config, float] = {}
        self._modules: set[int] = set()
        self._enumeration = list(self._space.enumerate()) if len(self._space) <= _ENUMERABLE else None

    def restore(self, records: Sequence[TrialRecord]) -> int:
        """Take over earlier records of this template; the latest also teach the model over modules."""
        usable: list[tuple[Config, float]] = []
        for record in records:
            if record.tuner is not self.tuner or record.source != self._template.name or not record.config:
                continue
            config = Config.from_mapping(record.config)
            if self._space.is_valid(config):
                usable.append((config, record.seconds))
        for config, seconds in usable:
            self._seen.add(config)
            self._measured[config] = min(seconds, self._measured.get(config, math.inf))
        recent = dict(usable[-_RESTORED_MODULES:])
        applied = [(self._apply(config), seconds) for config, seconds in recent.items()]
        good = [
            (proposal, secs) for proposal, secs in applied if proposal is not None and self._is_new(proposal)
        ]
        self._learn(good)
        return len(usable)

    def propose(self, count: int) -> list[Proposal]:
        """Up to `count` configurations that have not been tried, scheduled."""
        proposals: list[Proposal] = []
        default = self._template.default()
        if default not in self._seen:
            proposals.extend(self._take([default], 1))
        if len(self._measured) < _WARMUP:
            proposals.extend(self._take(self._opening(default), count - len(proposals)))
        else:
            proposals.extend(self._guided(count - len(proposals)))
        if not proposals:
            self.exhausted = True
        return proposals

    def observe(self, results: Sequence[tuple[Proposal, float]]) -> None:
        """Learn from measured proposals."""
        for proposal, seconds in results:
            assert proposal.config is not None
            self._measured[proposal.config] = seconds
        self._learn(results)

    def _learn(self, results: Sequence[tuple[Proposal, float]]) -> None:
        if self._measured:
            self._knob_model.fit(list(self._measured), list(self._measured.values()))
        self._model.update(
            self._context, [proposal.candidate for proposal, _ in results], [secs for _, secs in results]
        )

    def _apply(self, config: Config) -> Proposal | None:
        """Schedule a configuration; None when it does not fit the workload."""
        schedule = new_schedule(self._task.mod)
        try:
            self._template.apply(schedule, config)
        except ScheduleRejected:
            return None
        except TVM_ERRORS as error:
            lines = str(error).splitlines() or [""]
            _LOGGER.info("%s: %s does not apply: %.200s", self._task.name, config.as_dict(), lines[0])
            return None
        return Proposal(candidate(schedule, self._task), config, self._template.name)

    def _take(self, configs: Iterable[Config], count: int) -> list[Proposal]:
        """Schedule unseen configurations in turn until `count` of them fit."""
        taken: list[Proposal] = []
        for config in configs:
            if len(taken) >= count:
                break
            if config in self._seen:
                continue
            self._seen.add(config)
            proposal = self._apply(config)
            if proposal is not None and self._is_new(proposal):
                taken.append(proposal)
        return taken

    def _is_new(self, proposal: Proposal) -> bool:
        """Whether no configuration before led to the same module; remembers it."""
        identity = tvm_ffi.structural_hash(proposal.schedule.mod)
        if identity in self._modules:
            return False
        self._modules.add(identity)
        return True

    def _random(self) -> Iterable[Config]:
        """Configurations in random order: all of a small space, many of a large one."""
        if self._enumeration is not None:
            yield from self._rng.sample(self._enumeration, len(self._enumeration))
            return
        for _ in range(_ATTEMPTS):
            try:
                yield self._space.sample(self._rng)
            except ScheduleRejected:
                return

    def _opening(self, default: Config) -> Iterable[Config]:
        """Neighbours of the default and random configurations, in turns, then random ones."""
        near = self._space.neighbours(default) if self._space.is_valid(default) else []
        self._rng.shuffle(near)
        rest = iter(self._random())
        for config in near:
            yield config
            other = next(rest, None)
            if other is not None:
                yield other
        yield from rest

    def _guided(self, count: int) -> list[Proposal]:
        if count <= 0:
            return []
        explore = max(1, round(_RANDOM_SHARE * count)) if count > 1 else 0
        pool = self._pool()
        scores = self._knob_model.scores(pool)
        ranked = [pool[i] for i in sorted(range(len(pool)), key=lambda i: -scores[i])]
        applied = self._take(ranked, _POOL_FACTOR * (count - explore))
        module_scores = self._model.scores(self._context, [proposal.candidate for proposal in applied])
        order = list(range(len(applied)))
        if module_scores is not None:
            by_module = sorted(order, key=lambda i: -module_scores[i])
            module_rank = {index: place for place, index in enumerate(by_module)}
            order.sort(key=lambda i: i + module_rank[i])
        picked = [applied[i] for i in order[: count - explore]]
        for i in order[count - explore :]:
            self._put_back(applied[i])
        return picked + self._take(self._random(), count - len(picked))

    def _put_back(self, proposal: Proposal) -> None:
        """Forget a candidate that was scheduled and then not picked."""
        assert proposal.config is not None
        self._seen.discard(proposal.config)
        self._modules.discard(tvm_ffi.structural_hash(proposal.schedule.mod))

    def _pool(self) -> list[Config]:
        """Unseen configurations worth scoring: all of a small space, else an evolution from the best."""
        if self._enumeration is not None:
            return [config for config in self._enumeration if config not in self._seen]
        parents = sorted(self._measured, key=lambda config: self._measured[config])[:_PARENTS]
        try:
            parents = parents + [self._space.sample(self._rng) for _ in range(_POPULATION // 2)]
        except ScheduleRejected:
            _LOGGER.info("%s: nothing to sample beside what was measured", self._task.name)
        pool: dict[Config, None] = {}
        for _ in range(_GENERATIONS):
            children = [self._child(parents) for _ in range(_POPULATION)]
            pool.update(dict.fromkeys(config for config in (*parents, *children) if config not in self._seen))
            everyone = list(dict.fromkeys([*parents, *children]))
            scores = self._knob_model.scores(everyone)
            ranked = sorted(range(len(everyone)), key=lambda i: -scores[i])
            parents = [everyone[i] for i in ranked[: _POPULATION // 2]]
        return list(pool)

    def _child(self, parents: Sequence[Config]) -> Config:
        first, second = self._rng.choice(parents), self._rng.choice(parents)
        if self._rng.random() < 0.5:
            first = self._space.crossover(first, second, self._rng)
        return self._space.mutate(first, self._rng)

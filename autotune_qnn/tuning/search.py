"""The search over the configurations of a template: knows no TVM, only knobs, features and seconds.

The default comes first, then what was best on similar shapes. After that a pool of configurations that have been
scheduled and described grows by random ones and by children of the best, and the cost model picks from it; a share
of the picks stays random. On recorded measurements this finds better schedules sooner than a model over knob values
does: those say little about registers, loads and working sets, which is what decides.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence

from autotune_qnn.kernels.templates.base import Config, ConfigSpace, ScheduleRejected
from autotune_qnn.tuning.cost_model import Features, TaskModel

Describe = Callable[[Config], Features | None]
"""The features of a configuration; None where it does not apply, or equals one that was described before."""

_ENUMERABLE = 4096
_OPENING = 12
_GROWTH = 2
_CHILDREN = 1.0
_PARENTS = 6
_RANDOM_SHARE = 0.25
_ATTEMPTS = 400
_MOST_POOLED = 600


class KnobSearch:
    """A search over one space. It never proposes a configuration twice.

    With `guided` unset the model is not asked: that is random search, for comparison.
    """

    def __init__(
        self,
        space: ConfigSpace,
        default: Config,
        describe: Describe,
        model: TaskModel,
        seed: int,
        *,
        first: Sequence[Config] = (),
        guided: bool = True,
    ) -> None:
        """`first` are configurations to try right after the default."""
        self._space = space
        self._describe = describe
        self._model = model
        self._guided = guided
        self._rng = random.Random(seed)
        self._seen: set[Config] = set()
        self._first = [default, *first]
        self._measured: dict[Config, float] = {}
        self._pool: dict[Config, Features] = {}
        self._picked: dict[Config, Features] = {}
        self._random = self._shuffled()

    def features_of(self, config: Config) -> Features:
        """The features of a configuration that was proposed."""
        return self._picked[config]

    def restore(self, config: Config, seconds: float) -> None:
        """Take over an earlier measurement; inf stands for a failure. What it teaches goes to the model."""
        self._seen.add(config)
        self._measured[config] = min(seconds, self._measured.get(config, math.inf))

    def observe(self, config: Config, seconds: float) -> None:
        """Learn from a measured proposal; inf stands for a failure."""
        self._measured[config] = seconds
        self._model.add(self._picked[config], seconds)

    def propose(self, count: int) -> list[Config]:
        """Up to `count` configurations that have not been tried; none when the space is exhausted."""
        picked: list[Config] = []
        while self._first and len(picked) < count:
            self._describe_new(self._first.pop(0), picked)
        missing = count - len(picked)
        if missing > 0:
            picked.extend(self._pick(missing) if self._guided else self._pick_random(missing))
        return picked

    def _describe_new(self, config: Config, into: list[Config] | None = None) -> bool:
        """Describe a configuration not seen before, for the pool or, where given, for a list of picks."""
        if config in self._seen or not self._space.is_valid(config):
            return False
        self._seen.add(config)
        features = self._describe(config)
        if features is None:
            return False
        if into is None:
            self._pool[config] = features
        else:
            self._picked[config] = features
            into.append(config)
        return True

    def _pick_random(self, count: int) -> list[Config]:
        picked: list[Config] = []
        for config in self._random:
            self._describe_new(config, picked)
            if len(picked) >= count:
                break
        return picked

    def _pick(self, count: int) -> list[Config]:
        """The most promising of the pool, and some at random."""
        if not self._model.ready and len(self._measured) < _OPENING:
            self._grow(count - len(self._pool), 0)
            return self._take(list(self._pool)[:count])
        children = round(_CHILDREN * count) if self._measured else 0
        self._grow(_GROWTH * count, children)
        pool = list(self._pool)
        scores = self._model.scores([self._pool[config] for config in pool])
        ranked = [pool[place] for place in sorted(range(len(pool)), key=lambda place: -scores[place])]
        explore = max(1, round(_RANDOM_SHARE * count)) if count > 1 else 0
        best, rest = ranked[: count - explore], ranked[count - explore :]
        self._rng.shuffle(rest)
        return self._take([*best, *rest[:explore]])

    def _take(self, configs: Sequence[Config]) -> list[Config]:
        for config in configs:
            self._picked[config] = self._pool.pop(config)
        return list(configs)

    def _grow(self, count: int, children: int) -> None:
        """Add random configurations and children of the best measured ones to the pool."""
        for config in self._children(children):
            self._describe_new(config)
        while count > 0 and len(self._pool) < _MOST_POOLED:
            drawn = next(self._random, None)
            if drawn is None:
                break
            count -= self._describe_new(drawn)

    def _children(self, count: int) -> Iterator[Config]:
        good = [config for config, seconds in self._measured.items() if math.isfinite(seconds)]
        parents = sorted(good, key=lambda config: self._measured[config])[:_PARENTS]
        for _ in range(count if parents and self._space.knobs else 0):
            first, second = self._rng.choice(parents), self._rng.choice(parents)
            if self._rng.random() < 0.5:
                first = self._space.crossover(first, second, self._rng)
            yield self._space.mutate(first, self._rng)

    def _shuffled(self) -> Iterator[Config]:
        """Configurations in random order: all of a small space, samples of a large one until they repeat."""
        if len(self._space) <= _ENUMERABLE:
            every = list(self._space.enumerate())
            self._rng.shuffle(every)
            yield from every
            return
        misses = 0
        while misses < _ATTEMPTS:
            try:
                config = self._space.sample(self._rng)
            except ScheduleRejected:
                return
            misses = misses + 1 if config in self._seen else 0
            yield config


def nearest(space: ConfigSpace, values: dict[str, int]) -> Config | None:
    """The valid configuration closest to another space's knob values: each knob at the admissible value nearest
    to it (knobs that the other lacks at their first), then single steps away from it; None without a valid one.
    """
    chosen = []
    for knob in space.knobs:
        wanted = values.get(knob.name, knob.values[0])
        chosen.append((knob.name, min(knob.values, key=lambda value: _distance(value, wanted))))
    config = Config(tuple(chosen))
    if space.is_valid(config):
        return config
    for place, knob in enumerate(space.knobs):
        name, value = config.values[place]
        for other in sorted(knob.values, key=lambda candidate: _distance(candidate, value)):
            changed = config.replace(**{name: other})
            if space.is_valid(changed):
                return changed
    return None


def _distance(first: int, second: int) -> float:
    return abs(math.log2(1 + abs(first)) - math.log2(1 + abs(second))) + (0.0 if first == second else 1e-6)

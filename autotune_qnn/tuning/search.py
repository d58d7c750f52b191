"""The search over the configurations of a template: knows no TVM, only knobs, features and seconds.

The default comes first, then what was best on similar shapes. After that a pool of configurations that have been
scheduled and described grows, and the cost model picks from it. Describing costs a hundredth of a second, so that most
of a space is never described: the pool grows by random configurations, by children of the best measured ones, and by
those whose knobs are near to what the cost model liked. On recorded measurements a large pool and picks unlike each
other are worth more than anything else; knob values alone say little about registers, loads and working sets.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from autotune_qnn.kernels.templates.base import Config, ConfigSpace, ScheduleRejected
from autotune_qnn.tuning import gaussian
from autotune_qnn.tuning.cost_model import Features, TaskModel

Describe = Callable[[Config], Features | None]
"""The features of a configuration; None where it does not apply, or equals one that was described before."""

_ENUMERABLE = 32768
_LEAST_BATCH = 4
_FIRST_POOL = 64
_GROWTH = 2
_PARENTS = 6
_RANDOM_SHARE = 0.15
_ATTEMPTS = 400
_SAMPLED = 1024
_MOST_POOLED = 600
_KNOB_LENGTH = 0.35
_KNOB_NOISE = 1e-3
_MOST_REMEMBERED = 200
_LEAST_REMEMBERED = 4


def batch_size(trials: int, most: int) -> int:
    """How many to measure at once after so many trials: little is known at first, so that few are."""
    return min(most, max(_LEAST_BATCH, trials))


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
        self._expected: dict[Config, float] = {}
        self._picked: dict[Config, Features] = {}
        self._place = {
            knob.name: {
                value: place / max(1, len(knob.values) - 1) for place, value in enumerate(knob.values)
            }
            for knob in space.knobs
        }
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
            picked.extend(self._pick(missing, picked) if self._guided else self._pick_random(missing))
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

    def _pick(self, count: int, picked: Sequence[Config]) -> list[Config]:
        """The most promising of the pool, unlike each other, and some at random."""
        if self._measured or self._expected:
            self._grow(_GROWTH * count, count)
        else:
            self._open(max(_FIRST_POOL, _GROWTH * count))
        pool = list(self._pool)
        if not pool:
            return []
        described = [self._pool[config] for config in pool]
        scores = self._model.scores(described)
        self._remember(pool, scores)
        explore = round(_RANDOM_SHARE * count)
        already = [self._picked[config] for config in picked]
        chosen = [pool[place] for place in self._model.choose(described, scores, count - explore, already)]
        rest = [config for config in pool if config not in set(chosen)]
        return self._take([*chosen, *self._rng.sample(rest, min(explore, len(rest)))])

    def _take(self, configs: Sequence[Config]) -> list[Config]:
        for config in configs:
            self._picked[config] = self._pool.pop(config)
        return list(configs)

    def _open(self, count: int) -> None:
        """Fill an empty pool: half at random, half near what the cost model likes of those."""
        self._grow(count // 2, 0)
        pool = list(self._pool)
        self._remember(pool, self._model.scores([self._pool[config] for config in pool]))
        self._grow(count - count // 2, 0)

    def _remember(self, configs: Sequence[Config], scores: npt.NDArray[np.float64]) -> None:
        for config, score in zip(configs, scores, strict=True):
            self._expected.pop(config, None)
            self._expected[config] = float(score)

    def _grow(self, count: int, children: int) -> None:
        """Add children of the best measured configurations to the pool, some near what the cost model liked, and
        random ones.
        """
        for config in self._children(children):
            self._describe_new(config)
        for config in self._near(count // 2):
            count -= self._describe_new(config)
        while count > 0 and len(self._pool) < _MOST_POOLED:
            drawn = next(self._random, None)
            if drawn is None:
                break
            count -= self._describe_new(drawn)

    def _near(self, count: int) -> list[Config]:
        """Configurations not yet described that the cost model should like, going by their knobs alone."""
        if count <= 0 or len(self._expected) < _LEAST_REMEMBERED or len(self._pool) >= _MOST_POOLED:
            return []
        new = self._candidates()
        if not new:
            return []
        known = list(self._expected)[-_MOST_REMEMBERED:]
        values = np.asarray([self._expected[config] for config in known])
        expected = gaussian.regress(self._places(known), values, self._places(new), _KNOB_LENGTH, _KNOB_NOISE)
        return [new[place] for place in np.argsort(-expected, kind="stable")[:count]]

    def _candidates(self) -> list[Config]:
        """A sample of what was not described yet."""
        if self._every:
            new = [config for config in self._every if config not in self._seen]
            return self._rng.sample(new, min(_SAMPLED, len(new)))
        try:
            drawn = dict.fromkeys(self._space.sample(self._rng) for _ in range(_SAMPLED))
        except ScheduleRejected:
            return []
        return [config for config in drawn if config not in self._seen]

    def _places(self, configs: Sequence[Config]) -> npt.NDArray[np.float64]:
        """Each knob's place among its values, from 0 to 1."""
        return np.asarray(
            [[self._place[name][value] for name, value in config.values] for config in configs],
            dtype=np.float64,
        )

    def _children(self, count: int) -> Iterator[Config]:
        good = [config for config, seconds in self._measured.items() if math.isfinite(seconds)]
        parents = sorted(good, key=lambda config: self._measured[config])[:_PARENTS]
        for _ in range(count if parents and self._space.knobs else 0):
            first, second = self._rng.choice(parents), self._rng.choice(parents)
            if self._rng.random() < 0.5:
                first = self._space.crossover(first, second, self._rng)
            yield self._space.mutate(first, self._rng)

    @cached_property
    def _every(self) -> list[Config]:
        """All of a small space; nothing of a large one."""
        return list(self._space.enumerate()) if len(self._space) <= _ENUMERABLE else []

    def _shuffled(self) -> Iterator[Config]:
        """Configurations in random order: all of a small space, samples of a large one until they repeat."""
        if len(self._space) <= _ENUMERABLE:
            every = list(self._every)
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

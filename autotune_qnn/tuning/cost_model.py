"""The cost model: XGBoost from the figures that explain a kernel (`features`) to how fast it will be.

Every task has a model of its own. It starts from an estimate (`estimate`), which needs no measurement, corrected in
part by a prior that was trained on all other tasks: those of this run, and those that earlier runs left in logs. What
of the expected differences does not show in measurements is believed no longer. Labels are base-2 logarithms of speed
relative to the task's best, so that tasks of any size teach each other. Which candidates to measure is not a question
of the mean alone: `choose` keeps away from what is known already (`gaussian`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from autotune_qnn.tuning import gaussian
from autotune_qnn.tuning.estimate import derived, estimate

Features = tuple[float, ...]
Vector = npt.NDArray[np.float64]

_SLOWEST = -6.0
"""The label of a failure, and of anything that slow."""
_LEAST_GROUP = 4
_LEAST_ALONE = 8
_LEAST_PRIOR = 24
_MOST_PRIOR = 6000
_GROWTH = 1.5
_MOST_COMPARED = 256
_PRIOR_ROUNDS = 80
_PRIOR_SHARE = 0.3
"""How much of what other tasks say against the estimate is believed of this one."""
_TASK_ROUNDS = 40
_PARAMETERS: Mapping[str, Any] = {"max_depth": 5, "eta": 0.2, "tree_method": "hist", "nthread": 1}
_PRIOR_PARAMETERS: Mapping[str, Any] = {"max_depth": 3, "eta": 0.1, "min_child_weight": 20}
"""What holds for other tasks holds for this one roughly: few and shallow distinctions."""
_LENGTH = 0.5
"""The distance, in standard deviations of the features, over which schedules resemble each other."""
_CURIOSITY = 0.35
_LEAST_SPREAD = 0.03
_FIRST_SPREAD = 0.3
_NEAR_BEST = -1.0
_BELIEF = 0.02
"""The evidence for the expected differences before any measurement, as a sum of squares of logarithms."""
_GOOD = 0.2
"""The logarithm of speed over which a measurement's say in how much of them is believed is halved."""
_SMOOTH_LENGTH = 1.0
_SMOOTH_NOISE = 0.05
_SMOOTH_SLOWEST = -0.5

Samples = list[tuple[Features, float]]
"""Features and seconds (inf for a failure) of measured candidates of one task."""


def labels(seconds: Sequence[float]) -> Vector:
    """Logarithms of speed relative to the best, 0 for the best itself; all the same where nothing worked."""
    best = min(seconds, default=math.inf)
    if not math.isfinite(best):
        return np.full(len(seconds), _SLOWEST)
    relative = np.asarray([best / value if math.isfinite(value) else 0.0 for value in seconds])
    return np.maximum(_SLOWEST, np.log2(np.maximum(relative, 2.0**_SLOWEST)))


class SpeedModel:
    """What all tasks of a run know together; `task` gives a task's own model."""

    def __init__(self, seed: int = 0) -> None:
        self._parameters = {**_PARAMETERS, "seed": seed}
        self._groups: dict[str, Samples] = {}
        self._tasks: dict[str, TaskModel] = {}
        self._prior: Any = None
        self._prior_size = 0
        self.seconds = 0.0
        """What training took so far."""

    def learn(self, key: str, samples: Samples) -> int:
        """Take over what earlier runs measured of a task. Returns how many samples may help other tasks."""
        self._groups.setdefault(key, []).extend(samples)
        return len(samples) if _teaches(self._groups[key]) else 0

    def task(self, key: str) -> TaskModel:
        """The model of one task; the same object for the same key."""
        if key not in self._tasks:
            self._tasks[key] = TaskModel(self, key)
        return self._tasks[key]

    def samples(self, key: str) -> Samples:
        """What is known of a task, to be added to."""
        return self._groups.setdefault(key, [])

    def others(self, key: str) -> int:
        """How many samples of other tasks there are to learn from."""
        return sum(
            len(samples) for name, samples in self._groups.items() if name != key and _teaches(samples)
        )

    def prior(self, key: str) -> Any:
        """A booster trained on every task but this one; None while there is too little to learn from.

        Tasks of which nothing is known yet share one until there is a good deal more to learn from.
        """
        size = self.others(key)
        if size < _LEAST_PRIOR:
            return None
        groups = {
            name: samples for name, samples in self._groups.items() if name != key and _teaches(samples)
        }
        if self._groups.get(key):
            return self._train_prior(groups)
        if self._prior is None or size > _GROWTH * self._prior_size:
            self._prior, self._prior_size = self._train_prior(groups), size
        return self._prior

    def _train_prior(self, groups: Mapping[str, Samples]) -> Any:
        rows: list[Features] = []
        values: list[Vector] = []
        base: list[Vector] = []
        share = max(_LEAST_GROUP, _MOST_PRIOR // max(1, len(groups)))
        for samples in groups.values():
            taken = samples[-share:]
            rows.extend(features for features, _ in taken)
            values.append(labels([seconds for _, seconds in taken]))
            guessed = estimate(np.asarray([features for features, _ in taken], dtype=np.float64))
            base.append(guessed - np.median(guessed))
        known = np.asarray(rows, dtype=np.float64)
        return self.train(known, np.concatenate(values), np.concatenate(base), _PRIOR_ROUNDS, prior=True)

    def train(self, rows: Vector, values: Vector, base: Vector, rounds: int, *, prior: bool = False) -> Any:
        """A booster of `rounds` trees from feature rows to labels, on top of `base`."""
        import xgboost

        start = time.perf_counter()
        data = xgboost.DMatrix(derived(rows), label=values, nthread=1)
        data.set_base_margin(base)
        parameters = {**self._parameters, **(_PRIOR_PARAMETERS if prior else {})}
        booster = xgboost.train(parameters, data, num_boost_round=rounds)
        self.seconds += time.perf_counter() - start
        return booster


def _teaches(samples: Samples) -> bool:
    """Whether a task's samples say anything about others: several, and not all failures."""
    return len(samples) >= _LEAST_GROUP and any(math.isfinite(seconds) for _, seconds in samples)


def _slope(expected: Vector, values: Vector) -> float:
    """How much of the differences that were expected is there, from 0 to 1, above all among the fastest: that slow
    ones are slow is easily said.
    """
    weights = np.exp2(values / _GOOD)
    weights *= len(values) / weights.sum()
    first = expected - np.average(expected, weights=weights)
    second = values - np.average(values, weights=weights)
    shown, whole = (weights * first) @ second, (weights * first) @ first
    return float(np.clip((shown + _BELIEF) / (whole + _BELIEF), 0.0, 1.0))


def _predict(booster: Any, rows: Vector, base: Vector) -> Vector:
    import xgboost

    data = xgboost.DMatrix(derived(rows), nthread=1)
    data.set_base_margin(base)
    return np.asarray(booster.predict(data), dtype=np.float64)


class TaskModel:
    """The model of one task: the prior of the other tasks, corrected by what was measured of this one."""

    def __init__(self, shared: SpeedModel, key: str) -> None:
        """Made by `SpeedModel.task`. The prior is trained again when others know a good deal more."""
        self._shared = shared
        self._key = key
        self._own: Any = None
        self._offset = 0.0
        self._weight = 1.0
        self._known = np.zeros((0, 0))
        self._missed = np.zeros(0)
        self._fitted = 0
        self._prior: Any = None
        self._prior_size = 0

    @property
    def measured(self) -> int:
        """How many candidates it has learnt from."""
        return len(self._shared.samples(self._key))

    @property
    def ready(self) -> bool:
        """Whether it can tell candidates apart."""
        self._ask_prior()
        return self._prior is not None or self.measured >= _LEAST_ALONE

    def _ask_prior(self) -> None:
        size = self._shared.others(self._key)
        if size > _GROWTH * self._prior_size:
            self._prior, self._prior_size = self._shared.prior(self._key), size
            self._fitted = 0

    def add(self, features: Features, seconds: float) -> None:
        """Learn of a measured candidate; inf stands for a failure."""
        self._shared.samples(self._key).append((features, seconds))

    def scores(self, candidates: Sequence[Features]) -> Vector:
        """The expected logarithm of speed of each candidate; higher is faster. Only differences mean something while
        nothing of this task was measured; zeros where nothing can be said.
        """
        if not candidates:
            return np.zeros(0)
        self._ask_prior()
        rows = np.asarray(candidates, dtype=np.float64)
        base = self._base(rows)
        self._fit()
        if self._own is None:
            return base - base.max()
        expected = self._weight * base + self._offset
        return (_predict(self._own, rows, expected) + expected + self._nearby(rows)) / 2.0

    def choose(
        self, candidates: Sequence[Features], scores: Vector, count: int, picked: Sequence[Features] = ()
    ) -> list[int]:
        """Which candidates to measure next, by their place: those of a high score that are not like what was measured
        or `picked` already, nor like each other.
        """
        samples = self._shared.samples(self._key)[-_MOST_COMPARED:]
        known = [*(features for features, _ in samples), *picked]
        start = time.perf_counter()
        here, there = gaussian.placed(candidates, known)
        chosen = gaussian.pick(scores, here, there, _LENGTH, _CURIOSITY * self._spread(), count)
        self._shared.seconds += time.perf_counter() - start
        return chosen

    def _spread(self) -> float:
        """How much schedules that are worth a thought differ here."""
        samples = self._shared.samples(self._key)
        if len(samples) < _LEAST_GROUP:
            return _FIRST_SPREAD
        values = labels([seconds for _, seconds in samples])
        good = values[values > _NEAR_BEST]
        return max(_LEAST_SPREAD, float(good.std()) if len(good) else 0.0)

    def _base(self, rows: Vector) -> Vector:
        """What is expected of candidates without any measurement of this task."""
        guessed = estimate(rows)
        if self._prior is None:
            return guessed
        share = _PRIOR_SHARE if np.ptp(guessed) > 0.0 else 1.0
        return guessed + share * (_predict(self._prior, rows, guessed) - guessed)

    def _nearby(self, rows: Vector) -> Vector:
        """By how much schedules like each candidate differ from what was expected of them: smooth, where trees are
        not.
        """
        here, there = gaussian.placed(rows, self._known)
        return gaussian.regress(there, self._missed, here, _SMOOTH_LENGTH, _SMOOTH_NOISE)

    def _fit(self) -> None:
        samples = self._shared.samples(self._key)
        if len(samples) < _LEAST_GROUP or len(samples) == self._fitted:
            return
        rows = np.asarray([features for features, _ in samples], dtype=np.float64)
        values = labels([seconds for _, seconds in samples])
        base = self._base(rows)
        self._weight = _slope(base, values)
        self._offset = float(np.median(values - self._weight * base))
        believed = self._weight * base
        self._own = self._shared.train(rows, values, believed + self._offset, _TASK_ROUNDS)
        missed = np.maximum(_SMOOTH_SLOWEST, values) - believed - self._offset
        self._known, self._missed = rows[-_MOST_COMPARED:], missed[-_MOST_COMPARED:]
        self._fitted = len(samples)

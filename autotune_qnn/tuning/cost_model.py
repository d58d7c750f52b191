"""The cost model: XGBoost from the figures that explain a kernel (`features`) to how fast it will be.

Every task has a model of its own, which starts from a prior that was trained on all other tasks: those of this
run, and those that earlier runs left in logs. Labels are base-2 logarithms of speed relative to the task's best, so
that tasks of any size teach each other.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Features = tuple[float, ...]
Vector = npt.NDArray[np.float64]

_SLOWEST = -6.0
"""The label of a failure, and of anything that slow."""
_LEAST_GROUP = 4
_LEAST_ALONE = 8
_LEAST_PRIOR = 24
_MOST_PRIOR = 6000
_GROWTH = 1.5
_PRIOR_ROUNDS = 80
_TASK_ROUNDS = 40
_PARAMETERS: Mapping[str, Any] = {"max_depth": 5, "eta": 0.2, "tree_method": "hist"}

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

    def __init__(self, threads: int = 1, seed: int = 0) -> None:
        """`threads` is what training may use beside the workers."""
        self._parameters = {**_PARAMETERS, "nthread": threads, "seed": seed}
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
        share = max(_LEAST_GROUP, _MOST_PRIOR // max(1, len(groups)))
        for samples in groups.values():
            taken = samples[-share:]
            rows.extend(features for features, _ in taken)
            values.append(labels([seconds for _, seconds in taken]))
        return self.train(np.asarray(rows), np.concatenate(values), None, _PRIOR_ROUNDS)

    def train(self, rows: Vector, values: Vector, base: Vector | None, rounds: int) -> Any:
        """A booster of `rounds` trees from feature rows to labels, on top of `base` where given."""
        import xgboost

        start = time.perf_counter()
        data = xgboost.DMatrix(rows, label=values)
        if base is not None:
            data.set_base_margin(base)
        booster = xgboost.train(self._parameters, data, num_boost_round=rounds)
        self.seconds += time.perf_counter() - start
        return booster


def _teaches(samples: Samples) -> bool:
    """Whether a task's samples say anything about others: several, and not all failures."""
    return len(samples) >= _LEAST_GROUP and any(math.isfinite(seconds) for _, seconds in samples)


def _predict(booster: Any, rows: Vector, base: Vector | None = None) -> Vector:
    import xgboost

    data = xgboost.DMatrix(rows)
    if base is not None:
        data.set_base_margin(base)
    return np.asarray(booster.predict(data), dtype=np.float64)


class TaskModel:
    """The model of one task: the prior of the other tasks, corrected by what was measured of this one."""

    def __init__(self, shared: SpeedModel, key: str) -> None:
        """Made by `SpeedModel.task`. The prior is trained again when others know a good deal more."""
        self._shared = shared
        self._key = key
        self._own: Any = None
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
        """The expected logarithm of speed of each candidate; higher is faster. Zeros while nothing is known."""
        if not candidates or not self.ready:
            return np.zeros(len(candidates))
        rows = np.asarray(candidates, dtype=np.float64)
        base = None if self._prior is None else _predict(self._prior, rows)
        self._fit()
        if self._own is None:
            return np.zeros(len(candidates)) if base is None else base
        return _predict(self._own, rows, base)

    def _fit(self) -> None:
        samples = self._shared.samples(self._key)
        if len(samples) < _LEAST_GROUP or len(samples) == self._fitted:
            return
        rows = np.asarray([features for features, _ in samples], dtype=np.float64)
        values = labels([seconds for _, seconds in samples])
        base = None if self._prior is None else _predict(self._prior, rows)
        self._own, self._fitted = self._shared.train(rows, values, base, _TASK_ROUNDS), len(samples)

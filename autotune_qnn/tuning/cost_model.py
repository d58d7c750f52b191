"""The cost models: MetaSchedule's XGBoost model over scheduled modules, and a small one over knob values.

MetaSchedule's model (`XGBModel`) reads features of every memory access from the scheduled module, so that
what it learns on one task helps the next. Three defects of apache-tvm 0.27 are stepped around here: its
`tree_method` argument is ignored (the configuration carries it instead), `load` fails without a model file
(it is not used: the log is replayed), and its warm-up scores come from NumPy's global generator (`seeded`
makes them repeatable).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.meta_schedule.cost_model.xgb_model import XGBConfig

from autotune_qnn.kernels.templates.base import Config, ConfigSpace
from autotune_qnn.tuning.replay import TVM_ERRORS

Vector = npt.NDArray[np.float64]
_LOGGER = logging.getLogger(__name__)
_WARMUP = 16
_FAILED_SECS = 1e10


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Run a block with NumPy's global generator seeded, and put its state back."""
    state = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(state)


class ModuleCostModel:
    """MetaSchedule's XGBModel, shared by all tasks and strategies of a run. Higher scores are faster."""

    def __init__(self, threads: int = 1, seed: int = 0) -> None:
        """`threads` is what training may use beside the workers."""
        config = XGBConfig(nthread=threads, seed=seed, tree_method="hist")
        self.model: Any = ms.cost_model.XGBModel(
            config=config, num_warmup_samples=_WARMUP, early_stopping_rounds=20, verbose_eval=0
        )
        self._unusable: set[str] = set()

    @property
    def ready(self) -> bool:
        """Whether there was enough to learn from."""
        return self.model.data_size >= _WARMUP and self.model.booster is not None

    def update(self, context: Any, candidates: Sequence[Any], seconds: Sequence[float]) -> None:
        """Learn from measured candidates (MeasureCandidates of `context`); inf stands for a failure."""
        if not candidates or context.task_name in self._unusable:
            return
        results = [
            ms.runner.RunnerResult([value if math.isfinite(value) else _FAILED_SECS], None)
            for value in seconds
        ]
        try:
            self.model.update(context, list(candidates), results)
        except TVM_ERRORS as error:
            self._give_up(context, error)

    def scores(self, context: Any, candidates: Sequence[Any]) -> Vector | None:
        """A score for each candidate, or None while the model cannot tell."""
        if not self.ready or not candidates or context.task_name in self._unusable:
            return None
        try:
            return np.asarray(self.model.predict(context, list(candidates)), dtype=np.float64)
        except TVM_ERRORS as error:
            self._give_up(context, error)
            return None

    def _give_up(self, context: Any, error: Exception) -> None:
        self._unusable.add(context.task_name)
        _LOGGER.warning("no cost model for %s: %.200s", context.task_name, error)


class KnobCostModel:
    """XGBoost regression from a configuration's knobs to relative speed; cheap enough to score thousands."""

    def __init__(self, space: ConfigSpace, seed: int) -> None:
        """The model of one template on one task."""
        self._places = [{value: i for i, value in enumerate(knob.values)} for knob in space.knobs]
        self._seed = seed
        self._booster: Any = None

    def _features(self, configs: Sequence[Config]) -> Vector:
        rows = [
            [feature for (_, value), place in zip(config.values, self._places, strict=True)
             for feature in (float(value), float(place.get(value, -1)))]
            for config in configs
        ]  # fmt: skip
        return np.asarray(rows, dtype=np.float64)

    def fit(self, configs: Sequence[Config], seconds: Sequence[float]) -> None:
        """Learn afresh from everything measured; inf stands for a failure."""
        import xgboost

        best = min(seconds, default=math.inf)
        if not math.isfinite(best):
            return
        labels = np.asarray([best / value for value in seconds])
        data = xgboost.DMatrix(self._features(configs), label=labels)
        parameters = {"max_depth": 5, "eta": 0.2, "nthread": 1, "seed": self._seed, "tree_method": "hist"}
        self._booster = xgboost.train(parameters, data, num_boost_round=40)

    def scores(self, configs: Sequence[Config]) -> Vector:
        """Predicted speed relative to the best measured; all equal before anything was learnt."""
        import xgboost

        if self._booster is None or not configs:
            return np.zeros(len(configs))
        predicted = self._booster.predict(xgboost.DMatrix(self._features(configs)))
        return np.asarray(predicted, dtype=np.float64)

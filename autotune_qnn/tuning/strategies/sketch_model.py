"""The project's cost model in the form in which MetaSchedule's evolutionary search asks for one."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from tvm.ir.utils import derived_object
from tvm.s_tir import meta_schedule as ms

from autotune_qnn.tuning.cost_model import TaskModel
from autotune_qnn.tuning.features import features
from autotune_qnn.tuning.replay import TVM_ERRORS


@derived_object
class SketchCostModel(ms.cost_model.PyCostModel):  # type: ignore[misc]
    """Scores sketches with a task's model; random scores while that knows nothing."""

    def __init__(self, model: TaskModel, macs: int, threads: int) -> None:
        """`macs` are the task's multiply-accumulates."""
        super().__init__()
        self.model = model
        self.macs = macs
        self.threads = threads

    def load(self, path: str) -> None:
        """Nothing: what the model knows comes from the tuning log."""

    def save(self, path: str) -> None:
        """Nothing; see `load`."""

    def update(self, context: Any, candidates: list[Any], results: list[Any]) -> None:
        """Nothing: the strategy teaches the model."""

    def predict(self, context: Any, candidates: list[Any]) -> npt.NDArray[np.float64]:
        """Expected speed of each candidate relative to the task's best; 0 where none can be told."""
        if not self.model.ready:
            return np.random.uniform(0.0, 1.0, size=len(candidates))
        found = [self._features(item.sch.mod) for item in candidates]
        known = [values for values in found if values]
        scores = iter(np.exp2(self.model.scores(known)))
        return np.asarray([float(next(scores)) if values else 0.0 for values in found], dtype=np.float64)

    def _features(self, mod: Any) -> tuple[float, ...]:
        try:
            return features(mod, self.macs, self.threads)
        except TVM_ERRORS:
            return ()

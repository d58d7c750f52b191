"""TuneContexts: the form in which MetaSchedule's parts want a task."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import tvm
from tvm.s_tir import meta_schedule as ms

from autotune_qnn.tuning import light_import
from autotune_qnn.tuning.protocols import Target, Task

_LOGGER = logging.getLogger(__name__)
_LOGGER.setLevel(logging.ERROR)

MAX_SEED = (1 << 31) - 1


def tune_target(target: Target, threads: int) -> Any:
    """The target with as many cores as kernels will run with, which MetaSchedule's rules need to know."""
    return tvm.target.Target({**dict(target.mapping()), "num-cores": threads})


def tune_context(task: Task, target: Any, seed: int, *, space: Any, strategy: Any) -> Any:
    """A TuneContext of a task; one thread generates candidates and extracts features."""
    light_import.install()
    return ms.TuneContext(
        task.mod,
        target=target,
        space_generator=space,
        search_strategy=strategy,
        task_name=task.name,
        rand_state=1 + seed % (MAX_SEED - 1),
        num_threads=1,
        logger=_LOGGER,
    )


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Run a block with NumPy's global generator seeded, and put its state back."""
    state = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(state)

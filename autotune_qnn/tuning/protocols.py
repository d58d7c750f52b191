"""What tuning asks of a task, a target and a progress display. Arrays are NumPy's, modules are TVM's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from autotune_qnn.kernels.templates.base import ScheduleTemplate
from autotune_qnn.logs import TrialRecord

Array = npt.NDArray[np.generic]


class KnownTask(Protocol):
    """What identifies a workload, and tells how much it weighs."""

    @property
    def name(self) -> str:
        """Unique among the tasks of a model, and readable."""

    @property
    def key(self) -> str:
        """The workload's identity in logs, stable across processes."""

    @property
    def kind(self) -> str:
        """The family: "conv2d", "depthwise", ..."""

    @property
    def weight(self) -> int:
        """How often the model runs the workload."""

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one run."""


class Task(KnownTask, Protocol):
    """One workload to tune: the module {"main": PrimFunc}, unscheduled, and what identifies it."""

    @property
    def mod(self) -> Any:
        """An IRModule with one PrimFunc "main", whose last parameters are its outputs."""

    def arguments(self, seed: int) -> tuple[list[Array], list[Array]]:
        """All arguments of the PrimFunc in order, and the outputs expected in the last of them."""

    def template(self) -> ScheduleTemplate | None:
        """The expert-written schedule of the workload, if there is one."""


class Target(Protocol):
    """A parsed target."""

    @property
    def canonical(self) -> str:
        """The target's name in logs."""

    @property
    def isa(self) -> Any:
        """The instruction set that kernels are written for."""

    def mapping(self) -> Mapping[str, Any]:
        """The dictionary form that TVM reads."""

    def tvm(self) -> Any:
        """The target as TVM's object."""


class Progress(Protocol):
    """What a tuning run tells its spectator."""

    def start(self, tasks: Sequence[Task], total: int, done: int) -> None:
        """`total` trials are planned, of which `done` are in the log already."""

    def task(self, name: str) -> None:
        """Candidates of this task are being generated."""

    def trial(self, record: TrialRecord, best_secs: float) -> None:
        """A trial ended; `best_secs` is its task's best so far (inf without one)."""

    def close(self) -> None:
        """The run is over."""

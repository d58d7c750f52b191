"""The Relax engine: lowers a module in the QNN dialect to kernels, schedules and compiles them."""

from __future__ import annotations

from autotune_qnn.engines.relax.compile import compile_module
from autotune_qnn.engines.relax.lower import LoweredModule, lower
from autotune_qnn.engines.relax.schedule import Coverage, apply_best, default_schedule
from autotune_qnn.engines.relax.target import TargetSpec
from autotune_qnn.engines.relax.task import TuningTask

__all__ = [
    "Coverage",
    "LoweredModule",
    "TargetSpec",
    "TuningTask",
    "apply_best",
    "compile_module",
    "default_schedule",
    "lower",
]

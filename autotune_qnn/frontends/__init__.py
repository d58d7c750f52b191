"""The source frameworks, by name. Each is imported only when it is asked for."""

from __future__ import annotations

import importlib

from autotune_qnn.errors import MissingDependencyError, UsageError
from autotune_qnn.frontends.base import Frontend, ImportedModel, ImportOptions, ReferenceRunner, TensorInfo

__all__ = [
    "FRONTENDS",
    "Frontend",
    "ImportOptions",
    "ImportedModel",
    "ReferenceRunner",
    "TensorInfo",
    "get_frontend",
]

FRONTENDS = ("tflite", "pytorch", "mxnet")
_AVAILABLE = {
    "tflite": "autotune_qnn.frontends.tflite.frontend",
    "pytorch": "autotune_qnn.frontends.pytorch.frontend",
}


def get_frontend(name: str) -> Frontend:
    """The frontend called `name`.

    UsageError where there is none of that name (yet), MissingDependencyError where its packages are not
    installed.
    """
    if name not in FRONTENDS:
        raise UsageError(f"unknown frontend {name!r}; choose one of {', '.join(sorted(_AVAILABLE))}")
    if name not in _AVAILABLE:
        raise UsageError(
            f"the frontend {name} is not available yet; choose one of {', '.join(sorted(_AVAILABLE))}"
        )
    try:
        module = importlib.import_module(_AVAILABLE[name])
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"the frontend {name} needs the package {error.name}, which is not installed; "
            f"run: pip install 'autotune_qnn[{name}]'"
        ) from error
    frontend: Frontend = module.FRONTEND
    return frontend

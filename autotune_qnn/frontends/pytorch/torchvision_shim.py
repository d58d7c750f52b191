"""Imports torchvision beside a PyTorch that its compiled extension was not built for.

The published torchvision package is built for CUDA. With the CPU build of PyTorch its extension cannot load,
and then the import fails, because torchvision describes two operators (`nms` and `qnms`) that only the
extension declares. No quantized classification network uses either. So where the extension does not load,
both are declared (without an implementation) before the import; where it does load, nothing is touched.
"""

from __future__ import annotations

import ctypes
import importlib.util
import sys
import warnings
from pathlib import Path
from typing import Any

import torch

from autotune_qnn.errors import MissingDependencyError, first_line

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_declarations: list[Any] = []
"""Declarations last as long as the object that made them."""


def import_torchvision() -> Any:
    """The torchvision module. MissingDependencyError where it is not installed or cannot be imported."""
    if "torchvision" in sys.modules:
        return sys.modules["torchvision"]
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        raise MissingDependencyError(
            "the networks of torchvision need the package torchvision, which is not installed; "
            "run: pip install 'autotune_qnn[pytorch]'"
        )
    if not _extension_loads(Path(spec.origin).parent):
        _declare_operators()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import torchvision
    except (ImportError, RuntimeError, OSError) as error:
        raise MissingDependencyError(
            f"torchvision does not import beside PyTorch {torch.__version__} ({first_line(error)}); "
            "run: pip install 'autotune_qnn[pytorch]'"
        ) from error
    return torchvision


def _extension_loads(package: Path) -> bool:
    """Whether torchvision's own extension can be loaded beside this PyTorch; it then declares its operators."""
    for path in sorted(package.glob("_C*.so")):
        try:
            ctypes.CDLL(str(path))
        except OSError:
            return False
        return True
    return False


def _declare_operators() -> None:
    if _declarations:
        return
    library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in _SCHEMAS:
        library.define(schema)
    _declarations.append(library)

"""The networks that engines are compared on: where each comes from, and which of them are the same architecture."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase

from autotune_qnn.errors import UsageError


class Kind(StrEnum):
    """The framework that a network comes from, and whose output its other engines are held against."""

    TFLITE = "tflite"
    PYTORCH = "pytorch"


@dataclass(frozen=True, slots=True)
class Network:
    """One network. `file` is the TFLite file's name in the shared models. Networks of one `architecture` are forms of
    the same network: the fastest peer is looked for among all of them.
    """

    name: str
    kind: Kind
    architecture: str
    file: str = ""


def _pytorch(name: str) -> Network:
    return Network(name, Kind.PYTORCH, name)


def _tflite(name: str, architecture: str, stem: str) -> Network:
    return Network(name, Kind.TFLITE, architecture, f"{stem}.tflite")


NETWORKS = (
    _pytorch("mobilenet_v2"),
    _tflite("mobilenet_v2_tflite", "mobilenet_v2", "mobilenet_v2_1.0_224_ptq_int8_per_channel"),
    _tflite("mobilenet_v2_tflite_uint8", "mobilenet_v2", "mobilenet_v2_1.0_224_quant_uint8"),
    _pytorch("mobilenet_v1"),
    _pytorch("resnet18"),
    _pytorch("resnet50"),
    _pytorch("mobilenet_v3_large"),
    _pytorch("efficientnet_lite0"),
    _pytorch("shufflenet_v2_x1_0"),
    _tflite("mlperf_tiny_kws", "mlperf_tiny_kws", "kws_ref_model"),
    _tflite("mlperf_tiny_vww", "mlperf_tiny_vww", "vww_96_int8"),
    _tflite("mlperf_tiny_resnet8", "mlperf_tiny_resnet8", "pretrainedResnet_quant"),
    _tflite("mlperf_tiny_ad01", "mlperf_tiny_ad01", "ad01_int8"),
)
"""All of them, in the order in which they are run. PyTorch's have seeded random weights: only speed is looked at."""


def network(name: str) -> Network:
    """The network of that name."""
    return next(entry for entry in NETWORKS if entry.name == name)


def chosen(names: list[str], patterns: str, what: str) -> list[str]:
    """Those of `names` that any of the comma-separated patterns (`resnet*`) matches, in their own order.

    UsageError, naming `what` these are, for a pattern that matches nothing.
    """
    wanted = [pattern.strip() for pattern in patterns.split(",") if pattern.strip()]
    for pattern in wanted:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise UsageError(f"there is no {what} {pattern!r}; there are {', '.join(names)}")
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in wanted)]

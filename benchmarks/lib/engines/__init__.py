"""The engines of the comparison, by name."""

from __future__ import annotations

from autotune_qnn.logs import TunerName
from benchmarks.lib.engines.base import Engine
from benchmarks.lib.engines.inductor import Inductor
from benchmarks.lib.engines.litert import LiteRt
from benchmarks.lib.engines.onnx_runtime import OnnxRuntime
from benchmarks.lib.engines.openvino import OpenVino, OpenVinoNncf
from benchmarks.lib.engines.ours import PREFIX, Ours
from benchmarks.lib.engines.torchscript import TorchScript

__all__ = ["ENGINES", "PREFIX", "Engine"]

_ALL: tuple[Engine, ...] = (
    Ours("untuned", ()),
    Ours("autotvm", (TunerName.AUTOTVM,)),
    Ours("autoscheduler", (TunerName.AUTOSCHEDULER,)),
    Ours("tuned", (TunerName.AUTOTVM, TunerName.AUTOSCHEDULER)),
    OpenVino("openvino"),
    OpenVinoNncf("openvino_nncf"),
    OnnxRuntime("onnxruntime"),
    LiteRt("litert_xnnpack", "xnnpack"),
    LiteRt("tflite_builtin", "builtin"),
    TorchScript("pytorch_x86", "x86"),
    TorchScript("pytorch_onednn", "onednn"),
    TorchScript("pytorch_fbgemm", "fbgemm"),
    Inductor("pytorch_inductor"),
)
ENGINES = {engine.name: engine for engine in _ALL}
"""Ours first; peers' modules are imported only where they run."""

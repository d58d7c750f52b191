"""ONNX Runtime: QDQ form with uint8 activations and int8 weights a channel, quantized by its own tool."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

from autotune_qnn.build.manifest import settle
from autotune_qnn.frontends.base import Array
from benchmarks.lib.engines.base import Engine, Running, Step
from benchmarks.lib.job import Job
from benchmarks.lib.layers import Layer, macs_of
from benchmarks.lib.networks import Kind, Network
from benchmarks.lib.source import Source, ingredients, version_of

PACKAGES = ("onnxruntime", "onnx")
_REVISION = "1"
_LAYERS = (
    *("QLinearConv", "ConvInteger", "Conv", "FusedConv", "NhwcConv", "NhwcFusedConv"),
    *("QGemm", "Gemm", "FusedGemm", "QLinearMatMul", "MatMulInteger", "MatMulIntegerToFloat", "MatMul"),
    *("DynamicQuantizeMatMul", "FusedMatMul"),
)


def qdq_form(job: Job) -> Path:
    """The network's QDQ form: made where it is not in the cache, since more than one engine reads it."""
    folder = job.folder("qdq", [*ingredients(job), _REVISION, *map(version_of, PACKAGES)])
    form = folder / "qdq.onnx"
    if not form.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as place:
            settle(_quantized(job, Path(place)), form)
    return form


def _quantized(job: Job, folder: Path) -> Path:
    """The float network as ONNX, calibrated on the pictures, quantized statically."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    from benchmarks.lib import torch_forms

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # untyped
        def __init__(self) -> None:
            self.batches: Iterator[Array] = iter(torch_forms.calibration(job.model, job.batch))

        def get_next(self) -> dict[str, Array] | None:
            data = next(self.batches, None)
            return None if data is None else {"input": data}

    torch_forms.onnx(job.model, job.batch, folder / "float.onnx")
    quant_pre_process(str(folder / "float.onnx"), str(folder / "inferred.onnx"))
    quantize_static(
        str(folder / "inferred.onnx"),
        str(folder / "quantized.onnx"),
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    return folder / "quantized.onnx"


class OnnxRuntime(Engine):
    """The CPU execution provider with every graph optimization."""

    packages = PACKAGES
    profiles = True

    def refuses(self, network: Network) -> str:
        """It reads ONNX."""
        return "" if network.kind is Kind.PYTORCH else "reads ONNX, and this network is a .tflite file"

    def prepare(self, job: Job, source: Source, folder: Path) -> None:
        """Quantize for it."""
        qdq_form(job)

    def load(self, job: Job, source: Source, folder: Path) -> Running:
        """With bound input and output, so that no step copies either."""
        import onnxruntime

        session = _session(job)

        def run(data: Array) -> Array:
            output: Array = session.run(None, {"input": data})[0]
            return output

        def step(data: Array) -> Step:
            binding = session.io_binding()
            binding.bind_ortvalue_input("input", onnxruntime.OrtValue.ortvalue_from_numpy(data))
            binding.bind_output("output")
            return lambda: session.run_with_iobinding(binding)

        return Running(run, step, "QDQ, uint8 × int8 a channel")

    def layers(self, job: Job, source: Source, folder: Path, seconds: float) -> list[Layer]:
        """From the profile that the session writes, and the weights of the graph that it has made of the network."""
        data = source.inputs()[0]
        with tempfile.TemporaryDirectory() as place:
            graph = Path(place) / "optimized.onnx"
            session = _session(
                job,
                enable_profiling=True,
                profile_file_prefix=f"{place}/profile",
                optimized_model_filepath=str(graph),
                log_severity_level=3,  # no warning that the graph is for this machine
            )
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                session.run(None, {"input": data})
            events = json.loads(Path(session.end_profiling()).read_text())
            return profile_layers(events, _weights(graph))


def _session(job: Job, **others: Any) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = job.threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    for name, value in others.items():
        setattr(options, name, value)
    return onnxruntime.InferenceSession(str(qdq_form(job)), options, providers=["CPUExecutionProvider"])


def _weights(path: Path) -> dict[str, tuple[int, ...]]:
    """The shape of the largest constant of each node of a graph that has any."""
    import onnx

    graph = onnx.load(str(path)).graph
    constants = {entry.name: tuple(entry.dims) for entry in graph.initializer}
    found = {}
    for node in graph.node:
        shapes = [constants[name] for name in node.input if name in constants]
        if shapes:
            found[node.name] = max(shapes, key=prod)
    return found


def profile_layers(events: Sequence[dict[str, Any]], weights: Mapping[str, tuple[int, ...]]) -> list[Layer]:
    """The convolutions and dense layers of a profile of many runs, in order of execution, with median times.

    `weights` are the shapes of the nodes' weights, output channels first in those of convolutions.
    """
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for event in sorted(events, key=lambda event: int(event["ts"])):
        if event["cat"] == "Node" and event["args"].get("op_name") in _LAYERS:
            found[event["name"]].append(event)
    return [_layer(name.removesuffix("_kernel_time"), runs, weights) for name, runs in found.items()]


def _layer(name: str, runs: Sequence[dict[str, Any]], weights: Mapping[str, tuple[int, ...]]) -> Layer:
    data, output = (_shape(runs[0], key) for key in ("input_type_shape", "output_type_shape"))
    shape, macs = weights.get(name, ()), None
    if shape:
        macs = macs_of(output, output[-1] if len(shape) == 2 else shape[0], shape)  # or a matrix
    return Layer(name, data, output, macs, statistics.median(event["dur"] for event in runs))


def _shape(event: dict[str, Any], key: str) -> tuple[int, ...]:
    """The first tensor's, of `[{dtype: extents}, ...]`."""
    (extents,) = event["args"][key][0].values()
    return tuple(extents)

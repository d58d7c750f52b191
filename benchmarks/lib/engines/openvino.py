"""OpenVINO: the .tflite file itself or ONNX Runtime's QDQ form, and the form that its own NNCF makes."""

from __future__ import annotations

import functools
import statistics
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from autotune_qnn.errors import VerificationError
from autotune_qnn.frontends.base import Array
from benchmarks.lib.engines import onnx_runtime
from benchmarks.lib.engines.base import Engine, Running, Step
from benchmarks.lib.job import Job
from benchmarks.lib.layers import Layer, macs_of
from benchmarks.lib.networks import Kind, Network
from benchmarks.lib.source import Source, version_of

_TRIES = 7
_LAYERS = ("Convolution", "FullyConnected", "MatMul")


class OpenVino(Engine):
    """What other tools have quantized, as it stands."""

    packages = ("openvino",)
    profiles = True

    def ingredients(self, job: Job, source: Source) -> list[str]:
        """Also what makes the QDQ form, where one is needed."""
        form = onnx_runtime.PACKAGES if job.network.kind is Kind.PYTORCH else ()
        return [*super().ingredients(job, source), *map(version_of, form)]

    def prepare(self, job: Job, source: Source, folder: Path) -> None:
        """Quantize with ONNX Runtime's tool where the network comes from PyTorch."""
        if job.network.kind is Kind.PYTORCH:
            onnx_runtime.qdq_form(job)

    def load(self, job: Job, source: Source, folder: Path) -> Running:
        """Compiled for the least latency."""
        return _running(_compiled(_form(job, source), job, source))

    def layers(self, job: Job, source: Source, folder: Path, seconds: float) -> list[Layer]:
        """Of the same compilation, with its profiler on."""
        compiled = _compiled(_form(job, source), job, source, PERF_COUNT=True)
        return _layers(compiled, source.inputs()[0], seconds)


class OpenVinoNncf(Engine):
    """The float network quantized by NNCF after training, with its mixed preset."""

    packages = ("openvino", "nncf", "onnx")
    profiles = True

    def refuses(self, network: Network) -> str:
        """NNCF starts from a float network."""
        return "" if network.kind is Kind.PYTORCH else "quantizes float networks, and there is none of this"

    def prepare(self, job: Job, source: Source, folder: Path) -> None:
        """Export the float network, quantize, save."""
        import nncf
        import openvino

        from benchmarks.lib import torch_forms

        torch_forms.onnx(job.model, job.batch, folder / "float.onnx")
        batches = torch_forms.calibration(job.model, job.batch)
        model = nncf.quantize(
            openvino.Core().read_model(folder / "float.onnx"),
            nncf.Dataset(batches),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(batches),
        )
        openvino.save_model(model, folder / "nncf.xml", compress_to_fp16=False)

    def load(self, job: Job, source: Source, folder: Path) -> Running:
        """Compiled for the least latency."""
        return _running(_compiled(folder / "nncf.xml", job, source))

    def layers(self, job: Job, source: Source, folder: Path, seconds: float) -> list[Layer]:
        """Of the same compilation, with its profiler on."""
        compiled = _compiled(folder / "nncf.xml", job, source, PERF_COUNT=True)
        return _layers(compiled, source.inputs()[0], seconds)


def _form(job: Job, source: Source) -> Path:
    return source.model if job.network.kind is Kind.TFLITE else onnx_runtime.qdq_form(job)


def _compiled(path: Path, job: Job, source: Source, **others: Any) -> Any:
    """The faster of two compilations: what is not quantized in the precision that OpenVINO chooses, or in float32."""
    import openvino

    core = openvino.Core()
    model = core.read_model(path)
    model.reshape(list(source.shape))  # a .tflite file's batch is open, and so unbounded
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": job.threads,
        "NUM_STREAMS": 1,
        **others,
    }
    candidates = [core.compile_model(model, "CPU", settings)]
    if candidates[0].get_property("INFERENCE_PRECISION_HINT").to_string() != "f32":
        candidates.append(core.compile_model(model, "CPU", {**settings, "INFERENCE_PRECISION_HINT": "f32"}))
    return _fastest(candidates, openvino.Tensor(source.inputs()[0]))


def _running(compiled: Any) -> Running:
    import openvino

    def run(data: Array) -> Array:
        output: Array = compiled.create_infer_request().infer({0: data})[0]
        return output

    def step(data: Array) -> Step:
        return _step(compiled, openvino.Tensor(data))

    return Running(run, step, _precisions(compiled))


def _step(compiled: Any, tensor: Any) -> Step:
    request = compiled.create_infer_request()
    request.set_input_tensor(tensor)
    return functools.partial(request.infer, share_outputs=True)  # asynchronous requests take 60 µs longer


def _fastest(candidates: list[Any], tensor: Any) -> Any:
    """The one whose fastest run of a few, taken in turns, is shortest."""
    steps = [_step(candidate, tensor) for candidate in candidates]
    seconds: list[list[float]] = [[] for _ in steps]
    for _ in range(_TRIES):
        for place, step in enumerate(steps):
            step()
            start = time.perf_counter()
            step()
            seconds[place].append(time.perf_counter() - start)
    return candidates[min(range(len(steps)), key=lambda place: min(seconds[place]))]


def _precisions(compiled: Any) -> str:
    """The precisions that the layers with weights really run in."""
    counts: Counter[str] = Counter()
    for node in compiled.get_runtime_model().get_ops():
        if _information(node, "layerType") in _LAYERS:
            kernel, precision = (_information(node, key) for key in ("primitiveType", "runtimePrecision"))
            instructions = next((f" {name}" for name in ("amx",) if name in kernel), "")
            counts[precision + instructions] += 1
    return "layers in " + ", ".join(f"{name}: {count}" for name, count in counts.most_common())


def _layers(compiled: Any, data: Array, seconds: float) -> list[Layer]:
    """The layers with weights, with the medians of what the profiler says after each of many runs."""
    import openvino

    request = compiled.create_infer_request()
    request.set_input_tensor(openvino.Tensor(data))
    times: dict[str, list[float]] = defaultdict(list)
    end = time.monotonic() + seconds
    while not times or time.monotonic() < end:
        request.infer(share_outputs=True)
        for entry in request.get_profiling_info():
            times[entry.node_name].append(entry.real_time.total_seconds() * 1e6)
    nodes = [
        node for node in compiled.get_runtime_model().get_ops() if _information(node, "layerType") in _LAYERS
    ]
    nodes.sort(key=lambda node: int(_information(node, "execOrder")))
    return [_layer(node, times) for node in nodes]


def _layer(node: Any, times: dict[str, list[float]]) -> Layer:
    name = str(node.get_friendly_name())
    if name not in times:
        raise VerificationError(f"its profiler says nothing of {name}")
    data, weights = (tuple(node.input(place).get_shape()) for place in (0, 1))
    output = tuple(node.get_output_shape(0))
    channels = output[1] if _information(node, "layerType") == "Convolution" else output[-1]
    return Layer(name, data, output, macs_of(output, channels, weights), statistics.median(times[name]))


def _information(node: Any, key: str) -> str:
    return str(node.get_rt_info()[key].astype(str))

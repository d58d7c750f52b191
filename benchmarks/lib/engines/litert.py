"""TFLite's interpreters: XNNPACK as LiteRT runs it by default, and the builtin kernels."""

from __future__ import annotations

from pathlib import Path

from autotune_qnn.frontends.base import Array
from benchmarks.lib.engines.base import Engine, Running, Step
from benchmarks.lib.job import Job
from benchmarks.lib.networks import Kind, Network
from benchmarks.lib.source import Source


class LiteRt(Engine):
    """The interpreter of ai-edge-litert in one of its modes, "xnnpack" or "builtin"."""

    packages = ("ai-edge-litert",)

    def __init__(self, name: str, mode: str) -> None:
        super().__init__(name)
        self.mode = mode

    def refuses(self, network: Network) -> str:
        """It reads .tflite files."""
        if network.kind is Kind.TFLITE:
            return ""
        return "reads .tflite, and this network is PyTorch's"

    def prepare(self, job: Job, source: Source, folder: Path) -> None:
        """The file is read as it is."""

    def load(self, job: Job, source: Source, folder: Path) -> Running:
        """With the batch where the file admits it, otherwise sample by sample."""
        from autotune_qnn.frontends.tflite.reference_process import InterpretedModel

        expected = list(source.expected().shape[1:])
        model = InterpretedModel(
            source.model.read_bytes(), self.mode, job.threads, [list(source.shape)], [expected]
        )

        def run(data: Array) -> Array:
            return model.run([data])[0]

        def step(data: Array) -> Step:
            return model.step([data])

        return Running(run, step, "sample by sample" if model.by_sample else "")

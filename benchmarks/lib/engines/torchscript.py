"""PyTorch's quantized engines: the network quantized for the engine, traced and frozen."""

from __future__ import annotations

import warnings
from pathlib import Path

from autotune_qnn.frontends.base import Array
from benchmarks.lib.engines.base import Engine, Running, Step
from benchmarks.lib.job import Job
from benchmarks.lib.networks import Kind, Network
from benchmarks.lib.source import Source

_WARM_UP = 3
"""TorchScript rewrites a network in its first runs."""


class TorchScript(Engine):
    """One of x86, onednn and fbgemm."""

    packages = ("torch", "torchvision")

    def __init__(self, name: str, backend: str) -> None:
        super().__init__(name)
        self.backend = backend

    def refuses(self, network: Network) -> str:
        """It runs PyTorch's networks."""
        return "" if network.kind is Kind.PYTORCH else "runs PyTorch's networks, and this is a .tflite file"

    def prepare(self, job: Job, source: Source, folder: Path) -> None:
        """Quantize for the engine."""
        from benchmarks.lib import torch_forms

        torch_forms.torchscript(job.model, self.backend, job.batch, folder)

    def load(self, job: Job, source: Source, folder: Path) -> Running:
        """Frozen, as for serving."""
        import torch

        warnings.simplefilter("ignore")  # PyTorch announces the end of quantized TorchScript
        torch.set_num_threads(job.threads)
        torch.set_grad_enabled(False)
        torch.backends.quantized.engine = self.backend
        (file,) = folder.glob("*.pt")
        network = torch.jit.freeze(torch.jit.load(str(file), map_location="cpu").eval())
        for _ in range(_WARM_UP):
            network(torch.zeros(source.shape))

        def run(data: Array) -> Array:
            output: Array = network(torch.from_numpy(data)).numpy()
            return output

        def step(data: Array) -> Step:
            tensor = torch.from_numpy(data)
            return lambda: network(tensor)

        return Running(run, step, f"TorchScript, quantized for {self.backend}")

"""PyTorch's quantized engines: the network quantized for the engine, traced and frozen."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from benchmarks.lib.engines.base import Running
from benchmarks.lib.engines.torch_engine import TorchEngine, prepare_process, running
from benchmarks.lib.job import Job
from benchmarks.lib.layers import Layer
from benchmarks.lib.source import Source

_WARM_UP = 3
"""TorchScript rewrites a network in its first runs."""


class TorchScript(TorchEngine):
    """One of x86, onednn and fbgemm."""

    profiles = True

    def __init__(self, name: str, backend: str) -> None:
        super().__init__(name)
        self.backend = backend

    def prepare(self, job: Job, source: Source, folder: Path) -> None:
        """Quantize for the engine."""
        from benchmarks.lib import torch_forms

        torch_forms.torchscript(job.model, self.backend, job.batch, folder)

    def load(self, job: Job, source: Source, folder: Path) -> Running:
        """Frozen, as for serving."""
        return running(self._network(job, source, folder), f"TorchScript, quantized for {self.backend}")

    def layers(self, job: Job, source: Source, folder: Path, seconds: float) -> list[Layer]:
        """From PyTorch's profiler."""
        import torch

        from benchmarks.lib.engines.torch_profile import profile_layers

        return profile_layers(
            self._network(job, source, folder), torch.from_numpy(source.inputs()[0]), seconds
        )

    def _network(self, job: Job, source: Source, folder: Path) -> Any:
        """The network, frozen and warm."""
        import torch

        warnings.simplefilter("ignore")  # PyTorch announces the end of quantized TorchScript
        prepare_process(job.threads)
        torch.backends.quantized.engine = self.backend
        (file,) = folder.glob("*.pt")
        network = torch.jit.freeze(torch.jit.load(str(file), map_location="cpu").eval())
        for _ in range(_WARM_UP):
            network(torch.zeros(source.shape))
        return network

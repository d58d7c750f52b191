"""Networks of PyTorch in a few lines: one that is quantized, and some that cannot be imported."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import torch

from autotune_qnn.frontends.pytorch.torch_runtime import quantized_engine, quietly
from autotune_qnn.quantization import Arithmetic

SHAPE = (1, 3, 8, 8)


def small_network() -> Any:
    """A convolution between stubs, quantized for x86; its input is float32 of SHAPE."""
    quantization = torch.ao.quantization
    with quietly(), quantized_engine(Arithmetic.X86):
        network = torch.nn.Sequential(
            quantization.QuantStub(), torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), quantization.DeQuantStub()
        ).eval()
        network = quantization.fuse_modules(network, [["1", "2"]])
        network.qconfig = quantization.get_default_qconfig("x86")
        prepared = quantization.prepare(network)
        prepared(torch.randn(SHAPE))
        return quantization.convert(prepared)


def scripted(network: Any, path: Path) -> Path:
    """The network written to a file as a script."""
    with quietly():
        torch.jit.save(torch.jit.script(network), str(path))
    return path


class Branching(torch.nn.Module):
    """Looks at the values of its input."""

    def __init__(self) -> None:
        super().__init__()
        self.network = small_network()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[0] == 1:  # a question of shape, which has one answer
            x = x + 0.5
        if bool(x.sum() > 0):
            x = -x
        return self.network(x)


class Odd(torch.nn.Module):
    """Four operators that nobody imports."""

    def __init__(self) -> None:
        super().__init__()
        self.network = small_network()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.network(torch.erfinv(torch.cumsum(x, 1)))
        return torch.erfinv(torch.roll(y, 1, 1) * 2.0)


class Places(torch.nn.Module):
    """Asks where the highest values are."""

    def __init__(self) -> None:
        super().__init__()
        self.network = small_network()

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.nn.functional.max_pool2d(self.network(x), 2, return_indices=True)

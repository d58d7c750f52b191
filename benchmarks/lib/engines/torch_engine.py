"""What PyTorch's engines have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from autotune_qnn.frontends.base import Array
from benchmarks.lib.engines.base import Engine, Running, Step
from benchmarks.lib.networks import Kind, Network


class TorchEngine(Engine):
    """An engine for PyTorch's networks."""

    packages: tuple[str, ...] = ("torch", "torchvision")

    def refuses(self, network: Network) -> str:
        """It runs PyTorch's networks."""
        return "" if network.kind is Kind.PYTORCH else "runs PyTorch's networks, and this is a .tflite file"


def prepare_process(threads: int) -> None:
    """Make this process run networks on so many threads."""
    import torch

    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)


def running(network: Callable[[Any], Any], note: str) -> Running:
    """A loaded network of one input and one output."""
    import torch

    def run(data: Array) -> Array:
        output: Array = network(torch.from_numpy(data)).numpy()
        return output

    def step(data: Array) -> Step:
        tensor = torch.from_numpy(data)
        return lambda: network(tensor)

    return Running(run, step, note)

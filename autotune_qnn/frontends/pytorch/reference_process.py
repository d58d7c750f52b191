"""The process in which PyTorch runs a TorchScript file: `python -m autotune_qnn.frontends.pytorch.reference_process`.

The file's code runs here and native code may abort, so it is never the caller's process. See `frontends.serving` for
requests and answers.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from autotune_qnn.frontends.base import Array
from autotune_qnn.frontends.pytorch.capture import numbers, tensors_in
from autotune_qnn.frontends.pytorch.exported.program import executable
from autotune_qnn.frontends.pytorch.torch_runtime import take_announcement
from autotune_qnn.frontends.serving import seconds_a_run, serve
from autotune_qnn.quantization import Arithmetic


class _Model:
    """A loaded network."""

    def __init__(self, path: str, engine: str, threads: int) -> None:
        torch.set_num_threads(threads)
        self._network: Any
        if engine in torch.backends.quantized.supported_engines:
            torch.backends.quantized.engine = engine
            self._network = torch.jit.load(path, map_location="cpu").eval()
        else:
            self._network = executable(Path(path), compiled=engine == Arithmetic.INDUCTOR)

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """The outputs; of quantized ones the stored integers."""
        with torch.inference_mode():
            result = self._network(*(torch.from_numpy(array) for array in inputs))
        return [numbers(tensor) for tensor in tensors_in([result])]

    def time(self, inputs: Sequence[Array], number: int, repeat: int) -> list[float]:
        """Mean seconds a run over `number` runs, `repeat` times, after three runs to warm up."""
        tensors = [torch.from_numpy(array) for array in inputs]
        network = self._network
        with torch.inference_mode():
            for _ in range(3):  # TorchScript rewrites a network after its first runs
                network(*tensors)
            return seconds_a_run(lambda: network(*tensors), number, repeat)


def main() -> None:
    """Entry point of the process."""
    parser = argparse.ArgumentParser(description="PyTorch behind a pipe (internal)")
    parser.add_argument("model")
    parser.add_argument("--engine", required=True)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # PyTorch announces the end of quantized TorchScript
    take_announcement()
    serve("PyTorch", lambda: (_Model(arguments.model, arguments.engine, arguments.threads), {}))


if __name__ == "__main__":
    main()

"""The process in which PyTorch runs a TorchScript file: `python -m autotune_qnn.frontends.pytorch.reference_process`.

The file's code runs here and native code may abort, so it is never the caller's process. Requests come on standard
input and answers go to what was standard output when the process began, as frames (see `frontends.frames`).
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from autotune_qnn.errors import ModelError
from autotune_qnn.frontends.base import Array
from autotune_qnn.frontends.frames import read_frame, write_frame
from autotune_qnn.frontends.pytorch.capture import numbers, tensors_in
from autotune_qnn.frontends.pytorch.exported.program import executable
from autotune_qnn.frontends.pytorch.torch_runtime import take_announcement
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
            seconds = []
            for _ in range(repeat):
                start = time.perf_counter()
                for _ in range(number):
                    network(*tensors)
                seconds.append((time.perf_counter() - start) / number)
        return seconds


def _answer(model: _Model, request: dict[str, Array]) -> dict[str, Any]:
    """Carries out one request."""
    inputs = [request[f"input_{i}"] for i in range(sum(name.startswith("input_") for name in request))]
    if str(request["command"]) == "time":
        return {"seconds": np.array(model.time(inputs, int(request["number"]), int(request["repeat"])))}
    return {f"output_{i}": array for i, array in enumerate(model.run(inputs))}


def serve(arguments: argparse.Namespace, requests: IO[bytes], answers: IO[bytes]) -> None:
    """Loads the network, says so, and answers requests until the stream ends."""
    try:
        model = _Model(arguments.model, arguments.engine, arguments.threads)
    except (OSError, RuntimeError, ValueError, ModelError) as error:
        write_frame(answers, {"error": f"PyTorch refused the network: {error}"})
        return
    write_frame(answers, {"ready": True})
    while (request := read_frame(requests)) is not None:
        try:
            write_frame(answers, _answer(model, request))
        except (RuntimeError, ValueError, KeyError) as error:
            write_frame(answers, {"error": f"PyTorch failed: {error}"})


def main() -> None:
    """Entry point of the process."""
    parser = argparse.ArgumentParser(description="PyTorch behind a pipe (internal)")
    parser.add_argument("model")
    parser.add_argument("--engine", required=True)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("ignore")  # PyTorch announces the end of quantized TorchScript
    take_announcement()
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)
        serve(arguments, sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()

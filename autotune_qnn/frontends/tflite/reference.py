"""TFLite's own interpreter as the reference, in a process of its own (see `reference_process`)."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path

from autotune_qnn.errors import MissingDependencyError, UsageError
from autotune_qnn.frontends.base import Array, TensorInfo
from autotune_qnn.frontends.process import ReferenceProcess
from autotune_qnn.quantization import Arithmetic

_PROCESS = "autotune_qnn.frontends.tflite.reference_process"


class TfliteReference(ReferenceProcess):
    """Runs one model with the interpreter that `arithmetic` names.

    `every_tensor` makes `run_every_tensor` available and leaves `run` as it was. The process starts on
    construction.
    """

    def __init__(
        self,
        source: Path,
        inputs: Sequence[TensorInfo],
        outputs: Sequence[TensorInfo],
        arithmetic: Arithmetic,
        *,
        threads: int = 1,
        every_tensor: bool = False,
    ) -> None:
        if threads < 1:
            raise UsageError(f"the reference cannot run on {threads} threads")
        if importlib.util.find_spec("ai_edge_litert") is None:
            raise MissingDependencyError(
                "the TFLite reference needs ai-edge-litert; run: pip install 'autotune_qnn[tflite]'"
            )
        arguments = [str(source), "--mode", arithmetic.value, "--threads", str(threads)]
        arguments += ["--input-shapes", json.dumps([list(info.shape) for info in inputs])]
        arguments += ["--output-shapes", json.dumps([list(info.shape) for info in outputs])]
        if every_tensor:
            arguments.append("--every-tensor")
        super().__init__("TFLite's interpreter", source, inputs, outputs, _PROCESS, arguments)

    def run_every_tensor(self, inputs: Sequence[Array]) -> dict[int, Array]:
        """Each tensor that an operator makes, by its index in the model; needs `every_tensor`."""
        answer = self.ask({"command": "run"}, inputs)
        return {int(index): answer[f"output_{i}"] for i, index in enumerate(answer["indices"])}

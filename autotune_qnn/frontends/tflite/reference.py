"""TFLite's own interpreter as the reference, in a process of its own (see `reference_process`)."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from autotune_qnn.errors import MissingDependencyError, UsageError, VerificationError
from autotune_qnn.frontends.base import Array, TensorInfo
from autotune_qnn.frontends.tflite.reference_process import read_frame, write_frame
from autotune_qnn.quantization import Arithmetic

_PROCESS = "autotune_qnn.frontends.tflite.reference_process"
_PACKAGE_ROOT = Path(__file__).resolve().parents[3]


class TfliteReference:
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
        self._source = source
        self._inputs = tuple(inputs)
        self._outputs = tuple(outputs)
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        command = [
            sys.executable,
            "-m",
            _PROCESS,
            str(source),
            "--mode",
            arithmetic.value,
            "--threads",
            str(threads),
        ]
        command += ["--input-shapes", json.dumps([list(info.shape) for info in inputs])]
        command += ["--output-shapes", json.dumps([list(info.shape) for info in outputs])]
        if every_tensor:
            command.append("--every-tensor")
        environment = dict(os.environ)
        path = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = os.pathsep.join(
            [str(_PACKAGE_ROOT), path] if path else [str(_PACKAGE_ROOT)]
        )
        self._process: subprocess.Popen[bytes] | None = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, env=environment
        )
        try:
            self._receive()
        except BaseException:
            self.close()
            raise

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """The model's outputs. VerificationError where the interpreter fails or its process dies."""
        answer = self._ask({"command": "run"}, inputs)
        return [answer[f"output_{i}"] for i in range(len(self._outputs))]

    def run_every_tensor(self, inputs: Sequence[Array]) -> dict[int, Array]:
        """Each tensor that an operator makes, by its index in the model; needs `every_tensor`."""
        answer = self._ask({"command": "run"}, inputs)
        return {int(index): answer[f"output_{i}"] for i, index in enumerate(answer["indices"])}

    def time(self, inputs: Sequence[Array], number: int, repeat: int) -> list[float]:
        """`repeat` measurements of the mean seconds a run over `number` runs, after one run to warm up."""
        answer = self._ask({"command": "time", "number": number, "repeat": repeat}, inputs)
        return [float(value) for value in answer["seconds"]]

    def close(self) -> None:
        """Ends the process."""
        process, self._process = self._process, None
        if process is None:
            return
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except BrokenPipeError:
                    continue
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._errors.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, request: dict[str, Any], inputs: Sequence[Array]) -> dict[str, Array]:
        self._check(inputs)
        if self._process is None or self._process.stdin is None:
            raise VerificationError(f"the TFLite reference of {self._source.name} is closed")
        arrays = {f"input_{i}": np.ascontiguousarray(array) for i, array in enumerate(inputs)}
        try:
            write_frame(self._process.stdin, request | arrays)
        except OSError as error:
            raise VerificationError(self._obituary()) from error
        return self._receive()

    def _check(self, inputs: Sequence[Array]) -> None:
        if len(inputs) != len(self._inputs):
            raise UsageError(f"{self._source.name} takes {len(self._inputs)} inputs, not {len(inputs)}")
        for info, array in zip(self._inputs, inputs, strict=True):
            if array.shape != info.shape or array.dtype.name != info.dtype:
                raise UsageError(
                    f"input {info.name} is {info.dtype} {info.shape}, not {array.dtype.name} {array.shape}"
                )

    def _receive(self) -> dict[str, Array]:
        if self._process is None or self._process.stdout is None:
            raise VerificationError(f"the TFLite reference of {self._source.name} is closed")
        answer = read_frame(self._process.stdout)
        if answer is None:
            raise VerificationError(self._obituary())
        if "error" in answer:
            raise VerificationError(f"{self._source.name}: {answer['error']}".splitlines()[0])
        return answer

    def _obituary(self) -> str:
        """Why the process ended, in one line."""
        if self._process is None:
            return f"the TFLite reference of {self._source.name} is closed"
        code = self._process.wait()
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        said = f": {lines[-1][:300]}" if lines else ""
        return f"the TFLite interpreter's process {how} while running {self._source.name}{said}"

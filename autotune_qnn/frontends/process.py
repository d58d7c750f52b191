"""A source framework as the reference, in a process of its own: native code that aborts takes only that down."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from autotune_qnn.errors import UsageError, VerificationError
from autotune_qnn.frontends.base import Array, TensorInfo
from autotune_qnn.frontends.frames import read_frame, write_frame

_PACKAGE_ROOT = Path(__file__).resolve().parents[2]


class FrameProcess:
    """`python -m module arguments`, which answers one frame (see `frames`) with another on its standard streams.

    `what` is its name in messages and `subject` what it works on; `variables` are added to its environment. The process
    starts on construction and has to send a frame when it is ready. A context manager.
    """

    def __init__(
        self,
        what: str,
        subject: str,
        module: str,
        arguments: Sequence[str],
        *,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self._what = what
        self._subject = subject
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        environment = {**os.environ, **(variables or {})}
        path = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = os.pathsep.join(
            [str(_PACKAGE_ROOT), path] if path else [str(_PACKAGE_ROOT)]
        )
        self._process: subprocess.Popen[bytes] | None = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment,
        )
        try:
            self.ready = self._receive()
        except BaseException:
            self.close()
            raise

    def exchange(self, request: dict[str, Any]) -> dict[str, Array]:
        """The answer to one request. VerificationError where the process fails or dies."""
        if self._process is None or self._process.stdin is None:
            raise self._closed()
        try:
            write_frame(self._process.stdin, request)
        except OSError as error:
            raise VerificationError(self._obituary()) from error
        return self._receive()

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

    def _receive(self) -> dict[str, Array]:
        if self._process is None or self._process.stdout is None:
            raise self._closed()
        answer = read_frame(self._process.stdout)
        if answer is None:
            raise VerificationError(self._obituary())
        if "error" in answer:
            raise VerificationError(f"{self._subject}: {answer['error']}".splitlines()[0])
        return answer

    def _closed(self) -> VerificationError:
        return VerificationError(f"the process of {self._what} for {self._subject} is closed")

    def _obituary(self) -> str:
        """Why the process ended, in one line."""
        if self._process is None:
            return str(self._closed())
        code = self._process.wait()
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        said = f": {lines[-1][:300]}" if lines else ""
        return f"the process of {self._what} {how} while running {self._subject}{said}"


class ReferenceProcess(FrameProcess):
    """Runs one model in a process of its own.

    A request holds `command` ("run" or "time", with `number` and `repeat`) and the inputs as `input_0` and so on; the
    answer the outputs, `seconds`, or an `error`. `framework` is its name in messages.
    """

    def __init__(
        self,
        framework: str,
        source: Path,
        inputs: Sequence[TensorInfo],
        outputs: Sequence[TensorInfo],
        module: str,
        arguments: Sequence[str],
        *,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self._source = source
        self._inputs = tuple(inputs)
        self._outputs = tuple(outputs)
        super().__init__(framework, source.name, module, arguments, variables=variables)

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """The model's outputs. VerificationError where the framework fails or its process dies."""
        answer = self.ask({"command": "run"}, inputs)
        return [answer[f"output_{i}"] for i in range(len(self._outputs))]

    def time(self, inputs: Sequence[Array], number: int, repeat: int) -> list[float]:
        """`repeat` measurements of the mean seconds a run over `number` runs, after one run to warm up."""
        answer = self.ask({"command": "time", "number": number, "repeat": repeat}, inputs)
        return [float(value) for value in answer["seconds"]]

    def ask(self, request: dict[str, Any], inputs: Sequence[Array]) -> dict[str, Array]:
        """The answer to one request."""
        self._check(inputs)
        arrays = {f"input_{i}": np.ascontiguousarray(array) for i, array in enumerate(inputs)}
        return self.exchange(request | arrays)

    def _check(self, inputs: Sequence[Array]) -> None:
        if len(inputs) != len(self._inputs):
            raise UsageError(f"{self._source.name} takes {len(self._inputs)} inputs, not {len(inputs)}")
        for info, array in zip(self._inputs, inputs, strict=True):
            if array.shape != info.shape or array.dtype.name != info.dtype:
                raise UsageError(
                    f"input {info.name} is {info.dtype} {info.shape}, not {array.dtype.name} {array.shape}"
                )

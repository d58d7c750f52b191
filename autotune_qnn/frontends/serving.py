"""The other side of `process`: a framework's model that answers frames (see `frames`).

Requests come on standard input and answers go to what was standard output when the process began; anything that
native code prints goes to standard error.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Any, Protocol

import numpy as np

from autotune_qnn.errors import ModelError
from autotune_qnn.frontends.base import Array
from autotune_qnn.frontends.frames import read_frame, write_frame


class Served(Protocol):
    """A loaded model."""

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """The outputs for one batch."""

    def time(self, inputs: Sequence[Array], number: int, repeat: int) -> list[float]:
        """Mean seconds a run over `number` runs, `repeat` times."""


@contextmanager
def answer_stream() -> Iterator[IO[bytes]]:
    """What was standard output, for answers alone; standard output is standard error from now on."""
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)
        yield answers


def seconds_a_run(step: Callable[[], object], number: int, repeat: int) -> list[float]:
    """Mean seconds a call over `number` calls, `repeat` times."""
    seconds = []
    for _ in range(repeat):
        start = time.perf_counter()
        for _ in range(number):
            step()
        seconds.append((time.perf_counter() - start) / number)
    return seconds


def serve(framework: str, load: Callable[[], tuple[Served, Mapping[str, Array]]]) -> None:
    """Load a model, say so, and answer requests until standard input ends. `load` also gives what every answer to "run"
    holds beside the outputs; `framework` is its name in messages.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with answer_stream() as answers:
        try:
            model, constants = load()
        except (OSError, RuntimeError, ValueError, ModelError) as error:
            write_frame(answers, {"error": f"{framework} refused the model: {error}"})
            return
        write_frame(answers, {"ready": True})
        while (request := read_frame(sys.stdin.buffer)) is not None:
            try:
                write_frame(answers, _answer(model, constants, request))
            except (RuntimeError, ValueError, KeyError) as error:
                write_frame(answers, {"error": f"{framework} failed: {error}"})


def _answer(model: Served, constants: Mapping[str, Array], request: dict[str, Array]) -> dict[str, Any]:
    """Carries out one request."""
    inputs = [request[f"input_{i}"] for i in range(sum(name.startswith("input_") for name in request))]
    if str(request["command"]) == "time":
        return {"seconds": np.array(model.time(inputs, int(request["number"]), int(request["repeat"])))}
    return {**constants, **{f"output_{i}": array for i, array in enumerate(model.run(inputs))}}

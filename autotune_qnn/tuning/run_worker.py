"""What a runner process does: load a candidate, check every output, then time it.

Machines are shared: the minimum over many short repeats survives neighbours that a mean does not. Arguments
of a task are loaded once and kept, until a candidate computes something wrong; outputs are overwritten with
wrong values before a candidate runs, so that one that writes nothing cannot pass for the one before it.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import tvm

from autotune_qnn.host import tiles_refused
from autotune_qnn.logs.schema import Status

SLOW_FACTOR = 3.0
SLOW_REPEATS = 3
_KEPT_TASKS = 4

Array = npt.NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class RunRequest:
    """A library to check and time. `arguments` is an .npz file of arg0, arg1, ... and expected0, ...

    A repeat is `number` runs or as many as take `min_repeat_ms`; `best_secs` is the task's best so far.
    """

    library: str
    arguments: str
    number: int
    repeat: int
    min_repeat_ms: float
    best_secs: float = math.inf


@dataclass(frozen=True, slots=True)
class Measurement:
    """A runner's answer: seconds per run for each repeat, or what was wrong."""

    status: Status
    run_secs: tuple[float, ...] = ()
    error: str = ""


class _Arguments:
    """A task's arguments as TVM tensors, and its expected outputs."""

    def __init__(self, path: str) -> None:
        with np.load(path, allow_pickle=False) as arrays:
            names = set(arrays.files)
            count = sum(name.startswith("arg") for name in names)
            self.expected: list[Array] = [arrays[f"expected{i}"] for i in range(len(names) - count)]
            self.tensors = [tvm.runtime.tensor(arrays[f"arg{i}"]) for i in range(count)]
        self.outputs = self.tensors[count - len(self.expected) :]

    def spoil_outputs(self) -> None:
        for tensor, expected in zip(self.outputs, self.expected, strict=True):
            if np.issubdtype(expected.dtype, np.floating):
                tensor.copyfrom(np.full_like(expected, np.nan))
            else:
                tensor.copyfrom(np.invert(expected))

    def difference(self) -> str:
        """What is wrong with the outputs; empty when every element is as expected."""
        for place, (tensor, expected) in enumerate(zip(self.outputs, self.expected, strict=True)):
            actual = tensor.numpy()
            wrong = int(np.count_nonzero(actual != expected))
            if wrong:
                return f"output {place}: {wrong} of {expected.size} elements differ"
        return ""


_cache: OrderedDict[str, _Arguments] = OrderedDict()


def _arguments(path: str) -> _Arguments:
    if path not in _cache:
        _cache[path] = _Arguments(path)
        while len(_cache) > _KEPT_TASKS:
            _cache.popitem(last=False)
    _cache.move_to_end(path)
    return _cache[path]


def _time(module: Any, arguments: _Arguments, request: RunRequest) -> tuple[float, ...]:
    device = tvm.cpu()

    def evaluate(number: int, repeat: int) -> tuple[float, ...]:
        evaluator = module.time_evaluator("main", device, number=number, repeat=repeat)
        return tuple(max(float(value), 1e-9) for value in evaluator(*arguments.tensors).results)

    once = min(evaluate(1, 3))
    number = max(request.number, math.ceil(request.min_repeat_ms * 1e-3 / once))
    repeat = request.repeat
    if once > SLOW_FACTOR * request.best_secs:
        number, repeat = 1, min(repeat, SLOW_REPEATS)
    return evaluate(number, repeat)


def handle(request: RunRequest) -> Measurement:
    """Check and time one candidate; an exception is its runtime error."""
    result = _measure(request)
    if result.status is not Status.OK:
        _cache.clear()
    return result


def _measure(request: RunRequest) -> Measurement:
    tiles_refused()  # asks for them; a target whose kernels need them has been refused before, where need be
    arguments = _arguments(request.arguments)
    module = tvm.runtime.load_module(request.library)
    arguments.spoil_outputs()
    module["main"](*arguments.tensors)
    difference = arguments.difference()
    if difference:
        return Measurement(Status.WRONG_RESULT, error=difference)
    run_secs = _time(module, arguments, request)
    difference = arguments.difference()
    if difference:
        return Measurement(Status.WRONG_RESULT, error=f"after repeated runs, {difference}")
    return Measurement(Status.OK, run_secs)

"""What a runner process does: load a candidate, check every output, then time it.

Machines are shared: the minimum over many short repeats survives neighbours that a mean does not. Repeats go on
until the five smallest agree within one per cent, which is what the minimum can be trusted to; a spin loop beside
each block of repeats tells how busy the machine was. Arguments of a task are loaded once and kept, until a candidate
computes something wrong; outputs are overwritten with wrong values before a candidate runs, so that one that writes
nothing cannot pass for the one before it.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import tvm

from autotune_qnn.host import core_mhz, spin, tiles_refused
from autotune_qnn.logs.schema import Status
from autotune_qnn.tuning.arguments import Arguments

SLOW_FACTOR = 3.0
SLOW_REPEATS = 3
AGREEING = 5
AGREEMENT = 0.01
BUSY_NOISE = 1.25
COMPARED_REPEATS = 3
_BLOCK = 5
_KEPT_TASKS = 4


@dataclass(frozen=True, slots=True)
class RunRequest:
    """A library to check and time. `arguments` is a file that `write_arguments` made.

    A repeat is `number` runs or as many as take `min_repeat_ms`; `best_secs` is the task's best so far.
    """

    library: str
    arguments: str
    number: int
    repeat: int
    min_repeat_ms: float
    best_secs: float = math.inf


@dataclass(frozen=True, slots=True)
class CompareRequest:
    """Libraries of one task to time against each other, in `rounds` turns of short repeats."""

    libraries: tuple[str, ...]
    arguments: str
    rounds: int
    min_repeat_ms: float


@dataclass(frozen=True, slots=True)
class Measurement:
    """A runner's answer: seconds per run for each repeat, or what was wrong; how busy the machine was (1: not at
    all, 0: unknown), the core's clock where the system tells it (else 0), and the seconds that checking took.
    """

    status: Status
    run_secs: tuple[float, ...] = ()
    error: str = ""
    noise: float = 0.0
    mhz: float = 0.0
    checking: float = 0.0


_cache: OrderedDict[str, Arguments] = OrderedDict()


def _arguments(path: str) -> Arguments:
    if path not in _cache:
        _cache[path] = Arguments(path)
        while len(_cache) > _KEPT_TASKS:
            _cache.popitem(last=False)
    _cache.move_to_end(path)
    return _cache[path]


class Clock:
    """Times one loaded kernel in short blocks, a spin loop beside each."""

    def __init__(self, module: Any, arguments: Arguments, number: int, min_repeat_ms: float) -> None:
        self._module = module
        self._tensors = arguments.tensors
        self.once = min(self._evaluate(1, 3))
        self.number = max(number, math.ceil(min_repeat_ms * 1e-3 / self.once))
        self.seconds: list[float] = []
        self._spins: list[float] = []

    def _evaluate(self, number: int, repeat: int) -> tuple[float, ...]:
        evaluator = self._module.time_evaluator("main", tvm.cpu(), number=number, repeat=repeat)
        return tuple(max(float(value), 1e-9) for value in evaluator(*self._tensors).results)

    def block(self, repeats: int, number: int | None = None) -> None:
        """Measure some repeats more."""
        global _shortest_spin
        self._spins.append(spin())
        _shortest_spin = min(_shortest_spin, self._spins[-1])
        self.seconds.extend(self._evaluate(number or self.number, repeats))

    @property
    def noise(self) -> float:
        """The shortest spin of the measurement over the shortest that this process ever saw."""
        return round(min(self._spins) / _shortest_spin, 3)

    @property
    def settled(self) -> bool:
        """Whether the smallest repeats agree, so that the minimum is no accident."""
        best = sorted(self.seconds)[:AGREEING]
        return len(best) == AGREEING and best[-1] <= best[0] * (1 + AGREEMENT)


_shortest_spin = math.inf


def _time(module: Any, arguments: Arguments, request: RunRequest) -> Clock:
    """Repeat until the minimum has settled: at most `repeat` times, on a busy machine twice as often."""
    clock = Clock(module, arguments, request.number, request.min_repeat_ms)
    if clock.once > SLOW_FACTOR * request.best_secs:
        clock.block(min(request.repeat, SLOW_REPEATS), 1)
        return clock
    while True:
        most = request.repeat * (2 if clock.seconds and clock.noise > BUSY_NOISE else 1)
        left = most - len(clock.seconds)
        if left <= 0 or (len(clock.seconds) >= 2 * _BLOCK and clock.settled):
            return clock
        clock.block(min(_BLOCK, left))


def handle(request: RunRequest | CompareRequest) -> Measurement | list[Measurement]:
    """Check and time one candidate or compare several; an exception is a runtime error."""
    if isinstance(request, CompareRequest):
        return _compare(request)
    result = _measure(request)
    if result.status is not Status.OK:
        _cache.clear()
    return result


def _checked(library: str, arguments: Arguments) -> tuple[Any, str]:
    """The loaded kernel, and what is wrong with its outputs."""
    tiles_refused()  # asks for them; a target whose kernels need them has been refused before, where need be
    module = tvm.runtime.load_module(library)
    arguments.spoil_outputs()
    module["main"](*arguments.tensors)
    difference = arguments.difference()
    if difference:
        _cache.clear()
    return module, difference


def _measure(request: RunRequest) -> Measurement:
    start = time.perf_counter()
    arguments = _arguments(request.arguments)
    module, difference = _checked(request.library, arguments)
    checking = time.perf_counter() - start
    if difference:
        return Measurement(Status.WRONG_RESULT, error=difference, checking=checking)
    clock = _time(module, arguments, request)
    start = time.perf_counter()
    difference = arguments.difference()
    checking += time.perf_counter() - start
    if difference:
        return Measurement(Status.WRONG_RESULT, error=f"after repeated runs, {difference}", checking=checking)
    return Measurement(Status.OK, tuple(clock.seconds), noise=clock.noise, mhz=core_mhz(), checking=checking)


def load(library: str, arguments: str, min_repeat_ms: float) -> Clock | None:
    """A clock for the kernel of a library, for benchmarks that take turns of their own; None where it is wrong."""
    loaded = _arguments(arguments)
    module, difference = _checked(library, loaded)
    return None if difference else Clock(module, loaded, 1, min_repeat_ms)


def _compare(request: CompareRequest) -> list[Measurement]:
    """Every library in turns, the order rotated, so that whatever the machine does hits all alike."""
    arguments = _arguments(request.arguments)
    clocks = []
    for library in request.libraries:
        module, difference = _checked(library, arguments)
        if difference:
            raise RuntimeError(difference)
        clocks.append(Clock(module, arguments, 1, request.min_repeat_ms))
    for turn in range(request.rounds):
        for place in range(len(clocks)):
            clocks[(turn + place) % len(clocks)].block(COMPARED_REPEATS)
    return [
        Measurement(Status.OK, tuple(clock.seconds), noise=clock.noise, mhz=core_mhz()) for clock in clocks
    ]

"""Which elements PyTorch's vectorized elementwise loops take in whole vectors and which one by one.

Its kernels walk all operands at once: dimensions are sorted by stride and merged where memory allows, then the
innermost run is taken in blocks of 64, with what is left over (and every run that is not contiguous in all operands)
element by element, by another formula. This reckons the walk from the strides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autotune_qnn.frontends.pytorch.graph import TensorMeta

BLOCK = 64


@dataclass(frozen=True, slots=True)
class Walk:
    """`axes` are the dimensions of more than one element from the slowest to the fastest; the innermost run has
    `length` elements and is repeated `rows` times; `vectorized` is whether it is taken in blocks.
    """

    axes: tuple[int, ...]
    length: int
    rows: int
    vectorized: bool


def broadcast_strides(meta: TensorMeta, shape: Sequence[int]) -> tuple[int, ...]:
    """Strides of an operand that is broadcast to `shape`: zero where it is repeated."""
    missing = len(shape) - meta.rank
    strides = [0] * missing
    for extent, stride, wanted in zip(meta.shape, meta.strides, shape[missing:], strict=True):
        strides.append(0 if extent == 1 and wanted != 1 else stride)
    return tuple(strides)


def walk(output: TensorMeta, *operands: TensorMeta) -> Walk:
    """The walk over an output and its operands."""
    shape = list(output.shape)
    strides = [output.strides, *(broadcast_strides(operand, shape) for operand in operands)]
    order = [axis for axis in _sorted_axes(shape, strides) if shape[axis] != 1]
    if not order:
        return Walk((), 1, 1, True)
    runs: list[tuple[int, tuple[int, ...]]] = []
    for axis in order:
        steps = tuple(stride[axis] for stride in strides)
        if runs and all(
            runs[-1][0] * first == second for first, second in zip(runs[-1][1], steps, strict=True)
        ):
            runs[-1] = (runs[-1][0] * shape[axis], runs[-1][1])
        else:
            runs.append((shape[axis], steps))
    length, steps = runs[0]
    repeated = sum(step == 0 for step in steps[1:])
    vectorized = steps[0] == 1 and all(step in (0, 1) for step in steps) and repeated <= 1
    return Walk(tuple(reversed(order)), length, output.size // length, vectorized)


def _sorted_axes(shape: Sequence[int], strides: Sequence[Sequence[int]]) -> list[int]:
    """Axes from the fastest to the slowest, as TensorIterator sorts them."""
    order = list(reversed(range(len(shape))))
    for start in range(1, len(order)):
        place = start
        for other in range(start - 1, -1, -1):
            comparison = _compare(shape, strides, order[other], order[place])
            if comparison > 0:
                order[other], order[place] = order[place], order[other]
                place = other
            elif comparison < 0:
                break
    return order


def _compare(shape: Sequence[int], strides: Sequence[Sequence[int]], first: int, second: int) -> int:
    """1 where axis `first` is slower than `second`, −1 where it is faster, 0 where that is open."""
    for operand in strides:
        a, b = operand[first], operand[second]
        if a == 0 or b == 0:
            continue
        if a != b:
            return -1 if a < b else 1
        if shape[first] > shape[second]:
            return 1
    return 0

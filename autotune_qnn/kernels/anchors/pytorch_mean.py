"""PyTorch's float32 sum over the rows of a matrix, in its order of additions (`dialect.pytorch_pooling.cascade`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tvm import te, tirx

from autotune_qnn.dialect.pytorch_pooling import ROWS, cascade_steps, summed_in_rows
from autotune_qnn.kernels.lane import int32

Rows = Callable[[Any, Any, Any], Any]
"""(batch, row, channel) → float32 expression."""
_LEVELS = 4


@dataclass
class RowSums:
    """Sums over `count` rows of (batch, count, channels), as tensors (batch, ..., channels) that add up in levels.

    `stages` names the tensors that the sums are computed in.
    """

    batch: int
    channels: int
    stages: list[str] = field(default_factory=list)

    def _stage(self, groups: int, length: int, value: Rows) -> Any:
        """Sums of `length` consecutive rows each: (batch, groups, channels)."""
        place = te.reduce_axis((0, length), "row")
        name = f"sums{len(self.stages)}"
        self.stages.append(name)
        return te.compute(
            (self.batch, groups, self.channels),
            lambda n, g, c: te.sum(value(n, g * length + place, c), axis=[place]),
            name=name,
        )

    def cascade(self, rows: Rows, count: int) -> Callable[[Any, Any], Any]:
        """A function (batch, channel) → the sum: what is left of each level, lowest first."""
        step = cascade_steps(count)
        parts: list[Any] = []
        for level in range(_LEVELS):
            whole = count // step if level < _LEVELS - 1 else 0
            rest = count - whole * step
            if rest:
                parts.append(self._stage(1, rest, _from(rows, whole * step)))
            if not whole:
                break
            stage = self._stage(whole, step, rows)
            rows, count = _tensor(stage), whole

        def total(n: Any, c: Any) -> Any:
            value = parts[0][n, 0, c]
            for part in parts[1:]:
                value = value + part[n, 0, c]
            return value

        return total

    def interleaved(self, rows: Rows, count: int) -> Callable[[Any, Any], Any]:
        """The same for channels that PyTorch sums one by one: every fourth row, then what is left, added up."""
        quarter = count // ROWS
        parts = [self.cascade(_every(rows, start), quarter) for start in range(ROWS)] if quarter else []

        def total(n: Any, c: Any) -> Any:
            terms = [rows(n, int32(place), c) for place in range(quarter * ROWS, count)]
            values = [parts[0](n, c), *terms, *(part(n, c) for part in parts[1:])] if parts else terms
            value = values[0]
            for term in values[1:]:
                value = value + term
            return value

        return total

    def sums(self, rows: Rows, count: int, block: int) -> Callable[[Any, Any], Any]:
        """A function (batch, channel) → the sum in the order that the channel's place calls for."""
        boundary = summed_in_rows(self.channels, block)
        if boundary == self.channels:
            return self.cascade(rows, count)
        if boundary == 0:
            return self.interleaved(rows, count)
        body, tail = self.cascade(rows, count), self.interleaved(rows, count)
        return lambda n, c: tirx.Select(c < int32(boundary), body(n, c), tail(n, c))


def _from(rows: Rows, start: int) -> Rows:
    return lambda n, place, c: rows(n, place + start, c)


def _every(rows: Rows, start: int) -> Rows:
    return lambda n, place, c: rows(n, place * ROWS + start, c)


def _tensor(stage: Any) -> Rows:
    return lambda n, place, c: stage[n, place, c]

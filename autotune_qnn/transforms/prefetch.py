"""Fetches weights ahead of the multiplications that will need them.

A convolution goes through all of its data with one block of weights before it turns to the next. A network has more
weights than the second-level cache holds, so that each block's first use waits for memory, while its other uses leave
memory idle. A loop with the pragma `PREFETCH` asks, for every vector of weights that it loads, for the one that lies
so many elements behind. A loop with the pragma `PREFETCH_BETWEEN` asks for the next block's weights a few lines a turn,
which costs less where a turn's sums are short.
"""

from __future__ import annotations

from typing import Any

import tvm
from tvm import ir, tirx

from autotune_qnn.kernels.geometry import ceil_div
from autotune_qnn.kernels.statements import SECOND_LEVEL, prefetched, substituted, with_body, with_parts
from autotune_qnn.kernels.templates.primitives import PREFETCH, PREFETCH_BETWEEN

_LINE = 64
_WEIGHTS = "weights"


def _loads(value: Any, found: dict[str, Any]) -> None:
    """The loads from packed weights among the arguments of sums and calls, by their text."""
    if isinstance(value, ir.TensorLoad):
        if value.source.name.startswith(_WEIGHTS):
            found.setdefault(str(value), value)
    elif isinstance(value, ir.Call):
        for argument in value.args:
            _loads(argument, found)
    elif isinstance(value, tirx.Add):
        _loads(value.a, found)
        _loads(value.b, found)


def _first(load: Any) -> Any:
    """The place of the first element that a load reads."""
    (index,) = load.indices
    return index.base if isinstance(index, tirx.Ramp) else index


def _fetch(load: Any, distance: Any) -> Any:
    """Ask for the cache line `distance` elements behind a load's first."""
    first = _first(load)
    return prefetched(tirx.BufferLoad(load.source, [first + distance]), SECOND_LEVEL)


def _statements(body: Any) -> list[Any]:
    return list(body.seq) if isinstance(body, tirx.SeqStmt) else [body]


def _ahead(loop: Any, distance: int) -> Any:
    """The loop with its fetches in front of its body."""
    found: dict[str, Any] = {}
    statements = _statements(loop.body)
    for statement in statements:
        if isinstance(statement, tirx.BufferStore):
            _loads(statement.value, found)
    fetches = [_fetch(load, distance) for load in found.values()]
    return with_body(loop, tirx.SeqStmt([*fetches, *statements]))


def _first_load(stmt: Any) -> Any | None:
    """The first load of weights in a statement, in the first turn of every loop around it."""
    if isinstance(stmt, tirx.BufferStore):
        found: dict[str, Any] = {}
        _loads(stmt.value, found)
        return next(iter(found.values()), None)
    if isinstance(stmt, tirx.For):
        load = _first_load(stmt.body)
        if load is None:
            return None
        (place,) = load.indices
        return tirx.BufferLoad(load.source, [substituted(place, {stmt.loop_var: stmt.min})])
    if isinstance(stmt, tirx.AttrStmt):
        return _first_load(stmt.body)
    if isinstance(stmt, tirx.SeqStmt):
        return next((load for load in map(_first_load, stmt.seq) if load is not None), None)
    return None


def _between(loop: Any, distance: int) -> Any:
    """The loop of which every turn fetches its share of the `distance` elements behind the first weights."""
    load = _first_load(loop.body)
    if load is None:
        return loop
    line = _LINE // tvm.DataType(str(load.source.dtype)).itemsize
    lines, turns = ceil_div(distance, line), int(loop.extent)
    share = ceil_div(lines, turns)
    places = [loop.loop_var * share + number for number in range(share)]
    asked = [_fetch(load, place * line + distance) for place in places]
    fetches = asked[0] if share == 1 else tirx.SeqStmt(asked)
    if turns * share > lines:
        fetches = tirx.IfThenElse(loop.loop_var < ceil_div(lines, share), fetches, None)
    return with_body(loop, tirx.SeqStmt([fetches, *_statements(loop.body)]))


def _rewrite(stmt: Any) -> Any:
    if isinstance(stmt, tirx.AttrStmt) and stmt.attr_key in (PREFETCH, PREFETCH_BETWEEN):
        inner = _rewrite(stmt.body)
        change = _ahead if stmt.attr_key == PREFETCH else _between
        return _changed(inner, lambda loop: change(loop, int(stmt.value)))
    return with_parts(stmt, _rewrite)


def _changed(stmt: Any, change: Any) -> Any:
    """The loop behind other pragmas changed."""
    if isinstance(stmt, tirx.AttrStmt):
        return with_parts(stmt, lambda part: _changed(part, change))
    return change(stmt) if isinstance(stmt, tirx.For) else stmt


@tirx.transform.prim_func_pass(opt_level=0, name="autotune_qnn.PrefetchWeights")
def prefetch_weights(func: Any, _mod: Any, _context: Any) -> Any:
    """Turn the pragmas `PREFETCH` and `PREFETCH_BETWEEN` of loops into instructions."""
    return func.with_body(_rewrite(func.body))

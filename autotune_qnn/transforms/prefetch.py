"""Fetches weights ahead of the multiplications that will need them.

A convolution goes through all of its data with one block of weights before it turns to the next. A network has more
weights than the second-level cache holds, so that each block's first use waits for memory, while its other uses leave
memory idle. A loop with the pragma `PREFETCH` asks, for every vector of weights that it loads, for the one that lies
so many elements behind.
"""

from __future__ import annotations

from typing import Any

from tvm import ir, tirx

from autotune_qnn.kernels.statements import with_body, with_parts
from autotune_qnn.kernels.templates.primitives import PREFETCH

_READ, _SECOND_LEVEL, _DATA = 0, 2, 1
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


def _fetch(load: Any, distance: int) -> Any:
    """Ask for the cache line `distance` elements behind a load's first."""
    (index,) = load.indices
    first = index.base if isinstance(index, tirx.Ramp) else index
    place = tirx.BufferLoad(load.source, [first + distance])
    arguments = [tirx.const(number, "int32") for number in (_READ, _SECOND_LEVEL, _DATA)]
    return tirx.Evaluate(tirx.call_llvm_intrin("void", "llvm.prefetch", tirx.address_of(place), *arguments))


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


def _rewrite(stmt: Any) -> Any:
    if isinstance(stmt, tirx.AttrStmt) and stmt.attr_key == PREFETCH:
        inner = stmt.body
        return _ahead(inner, int(stmt.value)) if isinstance(inner, tirx.For) else inner
    return with_parts(stmt, _rewrite)


@tirx.transform.prim_func_pass(opt_level=0, name="autotune_qnn.PrefetchWeights")
def prefetch_weights(func: Any, _mod: Any, _context: Any) -> Any:
    """Turn the pragma `PREFETCH` of loops into instructions."""
    return func.with_body(_rewrite(func.body))

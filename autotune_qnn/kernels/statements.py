"""TensorIR statements made anew with other parts: what passes over lowered and unlowered code have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tvm import s_tir, tirx

LLVM_CALL = "tirx.call_llvm_pure_intrin"
"""The operator of calls to LLVM's intrinsics without effects."""

_PARTS = ("a", "b", "value", "condition", "true_value", "false_value")
"""Fields of expressions that are expressions."""

FIRST_LEVEL, SECOND_LEVEL = 3, 2
"""Caches that `prefetched` fetches to, as LLVM counts them."""
_READ, _DATA = 0, 1

Change = Callable[[Any], Any]
"""From a statement to the one that takes its place."""


def with_parts(stmt: Any, change: Change) -> Any:
    """The statement with `change` made of what it consists of; one without parts, or a block, as it is."""
    if isinstance(stmt, tirx.SeqStmt):
        return tirx.SeqStmt([change(part) for part in stmt.seq])
    if isinstance(stmt, tirx.For):
        return with_body(stmt, change(stmt.body))
    if isinstance(stmt, tirx.AttrStmt):
        return tirx.AttrStmt(stmt.node, stmt.attr_key, stmt.value, change(stmt.body))
    if isinstance(stmt, tirx.IfThenElse):
        otherwise = None if stmt.else_case is None else change(stmt.else_case)
        return tirx.IfThenElse(stmt.condition, change(stmt.then_case), otherwise)
    if isinstance(stmt, s_tir.SBlockRealize):
        return s_tir.SBlockRealize(stmt.iter_values, stmt.predicate, change(stmt.block))
    return stmt


def with_body(loop: Any, body: Any) -> Any:
    """The loop around another body."""
    fields = (loop.loop_var, loop.min, loop.extent, loop.kind)
    return tirx.For(*fields, body, loop.thread_binding, loop.annotations, loop.step)


def with_fields(block: Any, **changed: Any) -> Any:
    """The block with some of its fields (body, init, writes, alloc_buffers, annotations) changed."""
    names = ("iter_vars", "reads", "writes", "name_hint", "body")
    more = ("init", "alloc_buffers", "match_buffers", "annotations")
    return s_tir.SBlock(*(changed.get(name, getattr(block, name)) for name in (*names, *more)))


def substituted(expression: Any, values: Mapping[Any, Any]) -> Any:
    """The expression with values in place of variables."""
    return stmt_substituted(tirx.Evaluate(expression), values).value


def stmt_substituted(stmt: Any, values: Mapping[Any, Any]) -> Any:
    """The statement with values in place of variables."""
    return tirx.PrimFunc(list(values), stmt).specialize(dict(values)).body if values else stmt


def _lets(value: Any) -> list[Any]:
    """The outermost `let`s of an expression."""
    if isinstance(value, tirx.Let):
        return [value]
    parts = [*getattr(value, "args", ())]
    parts += [getattr(value, name) for name in _PARTS if hasattr(value, name)]
    return [let for part in parts for let in _lets(part)]


def lets_name(value: Any, place: Any) -> bool:
    """Whether a `let` in a value that is stored names a variable of its place in memory.

    Such a value has to be computed by the statement that stores it: TVM's search for common subexpressions puts what
    both share in front of the store, since it does not look into a `let`, and uses it inside all the same.
    """
    places = tirx.analysis.undefined_vars(place)
    bound = [variable for let in _lets(value) for variable in tirx.analysis.undefined_vars(let)]
    return any(variable.same_as(other) for variable in bound for other in places)


def prefetched(load: Any, level: int) -> Any:
    """The statement that asks for the cache line of an element to be read."""
    arguments = [tirx.const(number, "int32") for number in (_READ, level, _DATA)]
    return tirx.Evaluate(tirx.call_llvm_intrin("void", "llvm.prefetch", tirx.address_of(load), *arguments))

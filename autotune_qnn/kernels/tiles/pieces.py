"""Statements that code for tiles is made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tvm import tirx
from tvm.tirx.stmt import ForKind

from autotune_qnn.kernels.lane import int32


def loop(
    name: str, extent: Any, body: Callable[[Any], Any], start: Any = 0, kind: Any = ForKind.SERIAL
) -> Any:
    """A loop, or just its body where it has one step."""
    if isinstance(extent, int) and extent == 1:
        return body(int32(start) if isinstance(start, int) else start)
    variable = tirx.Var(name, "int32")
    first, count = (int32(value) if isinstance(value, int) else value for value in (start, extent))
    return tirx.For(variable, first, count, kind, body(variable))


def sequence(statements: Sequence[Any]) -> Any:
    """The statements one after the other."""
    return statements[0] if len(statements) == 1 else tirx.SeqStmt(list(statements))


def instruction(name: str, *arguments: Any) -> Any:
    """A call of one of LLVM's intrinsics for tiles."""
    return tirx.Evaluate(tirx.call_llvm_intrin("void", f"llvm.x86.{name}", *arguments))


def tile_number(number: int) -> Any:
    """The operand that names a tile."""
    return tirx.const(number, "uint8")


def byte_count(count: int) -> Any:
    """The operand that gives the bytes from one row of a tile to the next."""
    return tirx.const(count, "int64")


def address(buffer: Any, place: Any, access: str = "r") -> Any:
    """The address of an element counted from the buffer's first. Passes take it as a use of the whole buffer."""
    return buffer.access_ptr(access, offset=place)


def otherwise(rest: int, last: Any, whole: int, body: Callable[[int], Any]) -> Any:
    """`body(whole)`, or `body(rest)` for the last group where that has fewer."""
    if not rest:
        return body(whole)
    return tirx.IfThenElse(last, body(rest), body(whole))

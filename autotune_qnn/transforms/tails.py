"""Cuts vectors that end behind the end of a row into shorter ones that do not.

TVM makes of a vector of which some lanes have nothing to do a loop over all lanes, with a condition. LLVM makes vectors
with masks of such a loop, and where a mask leaves one lane only, LLVM 22 stores four bytes in place of one: what lies
behind the row is lost.
"""

from __future__ import annotations

from typing import Any

from tvm import sym, tirx

from autotune_qnn.kernels.statements import stmt_substituted, with_parts


def _filled(loop: Any) -> int | None:
    """How many lanes of a vector have something to do, where a condition says so."""
    test = loop.body
    if (
        loop.kind != tirx.ForKind.VECTORIZED
        or not isinstance(test, tirx.IfThenElse)
        or test.else_case is not None
    ):
        return None
    condition = sym.Analyzer().simplify(test.condition)
    if not isinstance(condition, tirx.LT) or not condition.a.same_as(loop.loop_var):
        return None
    return int(condition.b) if isinstance(condition.b, tirx.IntImm) else None


def _pieces(lanes: int) -> list[tuple[int, int]]:
    """Starts and sizes of vectors of 2ⁿ lanes, the longest first."""
    found, start = [], 0
    while start < lanes:
        size = 1 << (lanes - start).bit_length() - 1
        found.append((start, size))
        start += size
    return found


def _vector(loop: Any, start: int, size: int) -> Any:
    """The part of a vector's work that `size` lanes from `start` on do."""
    lane = tirx.Var(loop.loop_var.name, "int32")
    place = tirx.const(start, "int32") + (lane if size > 1 else 0)
    body = stmt_substituted(loop.body.then_case, {loop.loop_var: place})
    return body if size == 1 else tirx.For(lane, 0, size, tirx.ForKind.VECTORIZED, body)


def _rewrite(stmt: Any) -> Any:
    lanes = _filled(stmt) if isinstance(stmt, tirx.For) else None
    if lanes is None or not 0 < lanes < int(stmt.extent):
        return with_parts(stmt, _rewrite)
    vectors = [_vector(stmt, start, size) for start, size in _pieces(lanes)]
    return vectors[0] if len(vectors) == 1 else tirx.SeqStmt(vectors)


@tirx.transform.prim_func_pass(opt_level=0, name="autotune_qnn.CutTails")
def cut_tails(func: Any, _mod: Any, _context: Any) -> Any:
    """Cut every vectorized loop of which a condition leaves only the first lanes."""
    return func.with_body(_rewrite(func.body))

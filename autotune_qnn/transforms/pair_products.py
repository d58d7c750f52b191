"""Adds the products of neighbouring steps of a sum to each other first, and then to the sum.

vpmaddwd leaves the addition to an instruction of its own. Where multiplications and additions take turns, AMD's Zen 4
shares its vector pipes out badly among the two: 89 GMAC/s, against 99 with two of one kind before two of the other.
Elsewhere the order does not matter. LLVM puts sums in an order of its own, from which a fence keeps them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tvm_ffi
from tvm import ir, tirx

from autotune_qnn.kernels.statements import LLVM_CALL, with_parts


def _adds_product(stmt: Any) -> bool:
    """Whether the statement adds the result of an instruction to int32 lanes in memory, and does nothing else."""
    if not isinstance(stmt, tirx.BufferStore) or not isinstance(stmt.value, tirx.Add):
        return False
    loaded, product = stmt.value.a, stmt.value.b
    if (
        not isinstance(product, ir.Call)
        or product.op.name != LLVM_CALL
        or not isinstance(loaded, ir.TensorLoad)
    ):
        return False
    own = loaded.source.same_as(stmt.buffer) and tvm_ffi.structural_equal(loaded.indices, stmt.indices)
    return own and str(product.ty.dtype).startswith("int32x") and not _reads(product, stmt.buffer)


def _reads(value: Any, buffer: Any) -> bool:
    """Whether an expression depends on what a buffer holds."""
    return any(variable.same_as(buffer) for variable in tirx.analysis.undefined_vars(value))


def _fenced(value: Any) -> Any:
    """The vector of int32, as something that LLVM does not take apart."""
    lanes = str(value.ty.dtype).removeprefix("int32x")
    real = tirx.reinterpret(f"float32x{lanes}", value)
    fenced = tirx.call_llvm_pure_intrin(f"float32x{lanes}", "llvm.arithmetic.fence", real)
    return tirx.reinterpret(f"int32x{lanes}", fenced)


def _paired(stores: Sequence[Any]) -> list[Any]:
    """The statements that add the products of these, two at a time wherever two go to the same place."""
    done: list[Any] = []
    waiting: dict[str, Any] = {}
    for store in stores:
        place = f"{store.buffer.name}{store.indices}"
        first = waiting.pop(place, None)
        if first is None:
            waiting[place] = store
            continue
        total = store.value.a + _fenced(first.value.b + store.value.b)
        done.append(tirx.BufferStore(store.buffer, total, store.indices))
    return [*done, *waiting.values()]


def _sequence(statements: Sequence[Any]) -> list[Any]:
    done: list[Any] = []
    pending: list[Any] = []
    for stmt in statements:
        if _adds_product(stmt):
            pending.append(stmt)
            continue
        done += [*_paired(pending), _rewrite(stmt)]
        pending = []
    return [*done, *_paired(pending)]


def _rewrite(stmt: Any) -> Any:
    if isinstance(stmt, tirx.SeqStmt):
        statements = _sequence(list(stmt.seq))
        return statements[0] if len(statements) == 1 else tirx.SeqStmt(statements)
    return with_parts(stmt, _rewrite)


@tirx.transform.prim_func_pass(opt_level=0, name="autotune_qnn.PairProducts")
def pair_products(func: Any, _mod: Any, _context: Any) -> Any:
    """Join the products of a PrimFunc's unrolled sums in pairs."""
    return func.with_body(_rewrite(func.body))

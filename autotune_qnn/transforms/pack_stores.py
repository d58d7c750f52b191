"""Saturates four vectors of int32 to 64 bytes at once.

A kernel's results are stored as vectors of sixteen bytes, each of which AVX-512 makes from int32 with a saturating
conversion of two steps. Two instructions that pack two vectors each, and one that puts groups of four bytes into
order, do it for four vectors together, and one store writes what lies together in memory. Packing saturates first to
int16 and then to 8 bits, which gives the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tvm import sym, tirx
from tvm.target import codegen

from autotune_qnn.kernels.statements import lets_name, with_parts

_LANES, _VECTORS = 16, 4
_FLIP = 128
_WORDS = "llvm.x86.avx512.packssdw.512"
_SIGNED, _UNSIGNED = "llvm.x86.avx512.packsswb.512", "llvm.x86.avx512.packuswb.512"
# Packed, each 128-bit lane holds four bytes of every vector in turn.
_ORDER = [_VECTORS * group + vector for vector in range(_VECTORS) for group in range(_VECTORS)]


@dataclass(frozen=True)
class _Saturated:
    """A store of sixteen values saturated to a signed byte, and then flipped where the buffer is unsigned."""

    store: Any
    wide: Any
    first: Any

    @property
    def unsigned(self) -> bool:
        """Whether the buffer holds unsigned bytes."""
        return str(self.store.buffer.dtype) == "uint8"

    @property
    def unmoved(self) -> Any | None:
        """The int32 values that saturate to the unsigned bytes, where `wide` is those minus 128."""
        if isinstance(self.wide, tirx.Add) and _is_splat(self.wide.b, -_FLIP):
            return self.wide.a
        if isinstance(self.wide, tirx.Sub) and _is_splat(self.wide.b, _FLIP):
            return self.wide.a
        return None


def _is_splat(value: Any, number: int) -> bool:
    return (
        isinstance(value, tirx.Broadcast)
        and isinstance(value.value, tirx.IntImm)
        and int(value.value) == number
    )


def _narrowed(value: Any, dtype: str) -> Any | None:
    """What a cast to sixteen values of a dtype casts."""
    return (
        value.value if isinstance(value, tirx.Cast) and str(value.ty.dtype) == f"{dtype}x{_LANES}" else None
    )


def _saturated(stmt: Any) -> _Saturated | None:
    """The statement as a saturating store, or None."""
    if not isinstance(stmt, tirx.BufferStore) or len(stmt.indices) != 1:
        return None
    value, dtype, index = stmt.value, str(stmt.buffer.dtype), stmt.indices[0]
    if dtype == "uint8":
        if not isinstance(value, tirx.BitwiseXor) or not _is_splat(value.b, _FLIP):
            return None
        value = _narrowed(value.a, dtype)
    clamped = None if dtype not in ("int8", "uint8") else _narrowed(value, "int8")
    if not isinstance(clamped, tirx.Max) or not _is_splat(clamped.b, -_FLIP):
        return None
    inner = clamped.a
    if not isinstance(inner, tirx.Min) or not _is_splat(inner.b, _FLIP - 1):
        return None
    # Packed, the value is computed before the first store.
    if not isinstance(index, tirx.Ramp) or int(index.stride) != 1 or lets_name(inner.a, index.base):
        return None
    return _Saturated(stmt, inner.a, index.base)


def _packed(stores: Sequence[_Saturated]) -> Any:
    """The 64 bytes of four stores, as int32x16."""
    values = [store.unmoved for store in stores] if stores[0].unsigned else [None]
    moved = any(value is None for value in values)
    wide = [store.wide for store in stores] if moved else values
    words = [tirx.call_llvm_pure_intrin("int16x32", _WORDS, wide[place], wide[place + 1]) for place in (0, 2)]
    packed = tirx.call_llvm_pure_intrin("int8x64", _SIGNED if moved else _UNSIGNED, *words)
    result = tirx.Shuffle(
        [tirx.reinterpret("int32x16", packed)], [tirx.const(place, "int32") for place in _ORDER]
    )
    if not moved or not stores[0].unsigned:
        return result
    flip = tirx.const(-2139062144, "int32")  # 128 in each byte
    return result ^ tirx.Broadcast(flip, _LANES)


def _runs(stores: Sequence[_Saturated], analyzer: Any) -> list[int]:
    """The places at which the stores leave off being neighbours in memory, and the end."""
    ends = [
        place
        for place in range(1, _VECTORS)
        if not analyzer.can_prove_equal(stores[place].first, stores[place - 1].first + _LANES)
    ]
    return [*ends, _VECTORS]


def _together(stores: Sequence[_Saturated], analyzer: Any) -> list[Any]:
    """The statements that do what four stores do."""
    variable = tirx.Var("packed", f"int32x{_LANES}")
    statements = [tirx.Bind(variable, _packed(stores))]
    start, width = 0, _LANES // _VECTORS
    for end in _runs(stores, analyzer):
        part: Any = variable
        if end - start < _VECTORS:
            order = [tirx.const(place, "int32") for place in range(start * width, end * width)]
            part = tirx.Shuffle([variable], order)
        count = (end - start) * _LANES
        bytes_ = tirx.reinterpret(f"{stores[0].store.buffer.dtype}x{count}", part)
        statements.append(
            tirx.BufferStore(stores[0].store.buffer, bytes_, [tirx.Ramp(stores[start].first, 1, count)])
        )
        start = end
    return statements


def _sequence(statements: Sequence[Any], analyzer: Any) -> list[Any]:
    done: list[Any] = []
    pending: list[_Saturated] = []
    for stmt in statements:
        store = _saturated(stmt)
        if store is None or (pending and not store.store.buffer.same_as(pending[0].store.buffer)):
            done += [known.store for known in pending]
            pending = []
        if store is None:
            done.append(_rewrite(stmt, analyzer))
            continue
        pending.append(store)
        if len(pending) == _VECTORS:
            done += _together(pending, analyzer)
            pending = []
    return [*done, *(known.store for known in pending)]


def _rewrite(stmt: Any, analyzer: Any) -> Any:
    if isinstance(stmt, tirx.SeqStmt):
        return tirx.SeqStmt(_sequence(list(stmt.seq), analyzer))
    return with_parts(stmt, lambda part: _rewrite(part, analyzer))


@tirx.transform.prim_func_pass(opt_level=0, name="autotune_qnn.PackStores")
def pack_stores(func: Any, _mod: Any, _context: Any) -> Any:
    """Join saturating stores of a PrimFunc whose target has AVX512BW, four at a time."""
    target = func.attrs.get("target") if func.attrs else None
    if target is None or str(target.kind) != "llvm" or not codegen.target_has_features("avx512bw", target):
        return func
    return func.with_body(_rewrite(func.body, sym.Analyzer()))

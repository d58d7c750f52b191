"""Computes the outputs of one register tile between the multiplications of the next.

A tile's sums keep the multipliers busy and its outputs keep them waiting: dependent float operations, most of them on
other units. A processor looks a few hundred instructions ahead, which is less than either takes. In a loop with the
pragma `WEAVE` the statements that make outputs of one turn's sums stand, step by step, between the multiplications of
the next turn. The first turn has no sums before it: it makes outputs of zeros, where the second puts the right ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import tvm
from tvm import ir, tirx

from autotune_qnn.kernels.statements import (
    lets_name,
    stmt_substituted,
    substituted,
    with_body,
    with_parts,
)
from autotune_qnn.kernels.templates.primitives import WEAVE

_STEPS_BETWEEN = 16
"""Multiplications, at least, in which one vector of outputs is computed, where the sum has as many."""
_PAIRS = (tirx.Add, tirx.Sub, tirx.Mul, tirx.Min, tirx.Max, tirx.BitwiseXor)


@dataclass
class _Steps:
    """An expression of vectors as bindings, each of one operation, with their depths."""

    found: list[tuple[int, Any]] = field(default_factory=list)
    depths: dict[Any, int] = field(default_factory=dict)

    def of(self, value: Any, *, whole: bool = False) -> tuple[Any, int]:
        """A variable or leaf that stands for the expression, and its depth.

        `whole`: it is part of a saturating conversion, which LLVM and TVM know by its looks.
        """
        if isinstance(value, tirx.Var):
            return value, self.depths.get(value, 0)
        if not _is_vector(value) or isinstance(value, tirx.Broadcast | tirx.Ramp | ir.TensorLoad):
            return value, 0
        narrow = _is_narrow(value)
        clamp = whole and isinstance(value, tirx.Min | tirx.Max)
        made, depth = self._with_parts(value, whole=narrow or clamp)
        if narrow or clamp:
            return made, depth
        variable = tirx.Var("step", str(value.ty.dtype))
        self.found.append((depth + 1, tirx.Bind(variable, made)))
        self.depths[variable] = depth + 1
        return variable, depth + 1

    def _with_parts(self, value: Any, *, whole: bool) -> tuple[Any, int]:
        if isinstance(value, _PAIRS):
            (a, first), (b, second) = self.of(value.a, whole=whole), self.of(value.b, whole=whole)
            return type(value)(a, b), max(first, second)
        if isinstance(value, tirx.Cast):
            inner, depth = self.of(value.value, whole=whole)
            return tirx.Cast(value.ty.dtype, inner), depth
        if isinstance(value, tirx.Shuffle):
            parts = [self.of(vector) for vector in value.vectors]
            return tirx.Shuffle([part for part, _ in parts], list(value.indices)), max(d for _, d in parts)
        if isinstance(value, ir.Call):
            parts = [self.of(argument) for argument in value.args]
            call = ir.Call(value.op, [part for part, _ in parts], ret_ty=value.ty)
            return call, max((depth for _, depth in parts), default=0)
        return value, 0


def _is_narrow(value: Any) -> bool:
    return isinstance(value, tirx.Cast | tirx.BitwiseXor) and tvm.DataType(str(value.ty.dtype)).bits == 8


def _is_vector(value: Any) -> bool:
    return tvm.DataType(str(value.ty.dtype)).lanes > 1


def _flat(stmt: Any) -> list[Any]:
    if isinstance(stmt, tirx.SeqStmt):
        return [inner for part in stmt.seq for inner in _flat(part)]
    if isinstance(stmt, tirx.For) and isinstance(stmt.extent, tirx.IntImm) and int(stmt.extent) == 1:
        return _flat(stmt_substituted(stmt.body, {stmt.loop_var: stmt.min}))
    return [stmt]


def _stores_to(stmt: Any) -> list[Any] | None:
    """The buffers that a statement of a sum stores to; None for another kind of statement."""
    if isinstance(stmt, tirx.BufferStore):
        return [stmt.buffer]
    if isinstance(stmt, tirx.For):
        return _all_stores(_flat(stmt.body))
    if isinstance(stmt, tirx.IfThenElse) and stmt.else_case is None:
        return _all_stores(_flat(stmt.then_case))
    return [] if isinstance(stmt, tirx.Evaluate) else None


def _all_stores(statements: Sequence[Any]) -> list[Any] | None:
    found: list[Any] = []
    for stored in map(_stores_to, statements):
        if stored is None:
            return None
        found += stored
    return found


def _is_simple(stmt: Any) -> bool:
    """Whether a statement of outputs can be computed in steps, away from where it stores."""
    if isinstance(stmt, tirx.BufferStore):
        return not any(lets_name(stmt.value, index) for index in stmt.indices)
    return isinstance(stmt, tirx.Bind)


@dataclass(frozen=True)
class _Tile:
    """What one turn does: `sums` into the buffer `total`, and `outputs` of them."""

    sums: list[Any]
    outputs: list[Any]
    total: Any

    @classmethod
    def of(cls, body: Any, local: Sequence[Any]) -> _Tile | None:
        """The body of a loop as a tile, or None where it does something else."""
        statements = _flat(body)
        first = next((stmt for stmt in statements if isinstance(stmt, tirx.BufferStore)), None)
        if first is None or not any(first.buffer.same_as(buffer) for buffer in local):
            return None
        total, end = first.buffer, 0
        for place, stmt in enumerate(statements):
            if any(buffer.same_as(total) for buffer in _stores_to(stmt) or ()):
                end = place + 1
        sums, outputs = statements[:end], statements[end:]
        stored = _all_stores(sums)
        pure = stored is not None and all(buffer.same_as(total) for buffer in stored)
        loops = [stmt for stmt in sums if isinstance(stmt, tirx.For)]
        known = not loops or (len(loops) == 1 and sums[-1] is loops[0])
        simple = all(_is_simple(stmt) for stmt in outputs)
        whole = len(total.shape) == 1 and tvm.DataType(str(total.dtype)).lanes > 1
        return cls(sums, outputs, total) if pure and known and simple and whole and outputs else None

    def steps(self) -> list[Any]:
        """The outputs' statements in small steps, those of vectors that are stored together side by side."""
        done: list[Any] = []
        renamed: dict[Any, Any] = {}
        for stmt in self.outputs:
            group = _Steps()
            made, _ = group.of(substituted(stmt.value, renamed))
            done += [step for _, step in sorted(group.found, key=lambda step: step[0])]
            if isinstance(stmt, tirx.Bind):
                renamed[stmt.var] = made
            else:
                done.append(tirx.BufferStore(stmt.buffer, made, list(stmt.indices)))
        return done

    def opened(self) -> tuple[list[Any], list[Any]]:
        """The sums' statements among which outputs are computed, and the loop behind them, if any."""
        if not isinstance(self.sums[-1], tirx.For):
            return self.sums, []
        loop = self.sums[-1]
        inside, extent = _flat(loop.body), int(loop.extent)
        products = sum(isinstance(stmt, tirx.BufferStore) for stmt in inside)
        turns = min(extent, -(-_STEPS_BETWEEN * int(self.total.shape[0]) // products))
        places = [stmt_substituted(loop.body, {loop.loop_var: loop.min + turn}) for turn in range(turns)]
        opened = [*self.sums[:-1], *(part for place in places for part in _flat(place))]
        if turns == extent:
            return opened, []
        later = stmt_substituted(loop.body, {loop.loop_var: loop.loop_var + turns})
        return opened, [tirx.For(loop.loop_var, loop.min, extent - turns, loop.kind, later)]


def _merged(sums: Sequence[Any], steps: Sequence[Any]) -> list[Any]:
    """Both, each in its order, spread evenly."""
    done: list[Any] = []
    taken = 0
    for place, stmt in enumerate(sums):
        done.append(stmt)
        upto = (place + 1) * len(steps) // len(sums)
        done += steps[taken:upto]
        taken = upto
    return done


def _into(stmt: Any, old: Any, new: Any) -> Any:
    """The sum's statement with `new` in place of `old`."""
    if isinstance(stmt, tirx.BufferStore):
        return tirx.BufferStore(new, _from(stmt.value, old, new), list(stmt.indices))
    return with_parts(stmt, lambda part: _into(part, old, new))


def _from(value: Any, old: Any, new: Any) -> Any:
    if isinstance(value, ir.TensorLoad) and value.source.same_as(old):
        return tirx.BufferLoad(new, list(value.indices))
    if isinstance(value, tirx.Add):
        return tirx.Add(_from(value.a, old, new), _from(value.b, old, new))
    if isinstance(value, ir.Call):
        return ir.Call(value.op, [_from(argument, old, new) for argument in value.args], ret_ty=value.ty)
    return value


def _woven(loop: Any, tile: _Tile) -> Any:
    """The loop with outputs of each turn made in the next, and those of the last turn behind it."""
    old = tile.total
    new = tirx.decl_buffer(old.shape, str(old.dtype), f"{old.name}_next")
    zero = tirx.Broadcast(tirx.const(0, "int32"), tvm.DataType(str(old.dtype)).lanes)
    places = [tirx.const(place, "int32") for place in range(int(old.shape[0]))]
    cleared = [tirx.BufferStore(old, zero, [place]) for place in places]
    moved = [tirx.BufferStore(old, tirx.BufferLoad(new, [place]), [place]) for place in places]
    sums, rest = tile.opened()
    turn = loop.loop_var
    before = {turn: tirx.Max(turn - 1, tirx.const(0, str(turn.ty.dtype)))}
    steps = [stmt_substituted(stmt, before) for stmt in tile.steps()]
    inside = _merged([_into(stmt, old, new) for stmt in sums], steps)
    inside += [*(_into(stmt, old, new) for stmt in rest), *moved]
    last = [stmt_substituted(stmt, {turn: loop.extent - 1}) for stmt in tile.outputs]
    return tirx.SeqStmt([tirx.AllocBuffer(new), *cleared, with_body(loop, tirx.SeqStmt(inside)), *last])


def _rewrite(stmt: Any, local: list[Any]) -> Any:
    if isinstance(stmt, tirx.AllocBuffer):
        local.append(stmt.buffer)
        return stmt
    if isinstance(stmt, tirx.AttrStmt) and stmt.attr_key == WEAVE:
        loop = stmt.body
        tile = _Tile.of(loop.body, local) if isinstance(loop, tirx.For) else None
        return loop if tile is None else _woven(loop, tile)
    return with_parts(stmt, lambda part: _rewrite(part, local))


@tirx.transform.prim_func_pass(opt_level=0, name="autotune_qnn.Weave")
def weave(func: Any, _mod: Any, _context: Any) -> Any:
    """Carry out the pragma `WEAVE` of loops."""
    return func.with_body(_rewrite(func.body, []))

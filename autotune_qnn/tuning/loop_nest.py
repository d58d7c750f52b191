"""A scheduled kernel as a list of leaves: the innermost blocks, the loops around each, and what each touches.

Tensorized blocks are leaves like any other, so that what is computed from them (`features`) does not depend on
what an instruction looks like inside.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tvm import s_tir, tirx

SERIAL, PARALLEL, VECTORIZED, UNROLLED = range(4)
_KINDS = {
    int(tirx.ForKind.PARALLEL): PARALLEL,
    int(tirx.ForKind.VECTORIZED): VECTORIZED,
    int(tirx.ForKind.UNROLLED): UNROLLED,
}


@dataclass(frozen=True, slots=True)
class Loop:
    """One loop: a number of its own, its extent, one of the kinds above, and the names of its annotations."""

    number: int
    extent: int
    kind: int
    marks: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Access:
    """What one execution of a leaf touches of a buffer.

    `size` is bytes, `elements` their number, `limit` the buffer's bytes, `loops` the numbers of the loops that
    change the place. `within` are those of them that lead to other memory: a buffer of the kernel's own is
    allocated inside the loops that all its users share.
    """

    buffer: int
    size: int
    elements: int
    limit: int
    loops: frozenset[int]
    within: frozenset[int]

    def footprint(self, loops: Iterable[Loop]) -> int:
        """Different bytes touched while these loops run: an upper bound where windows overlap."""
        return min(self.limit, self.size * self.distinct(loops))

    def distinct(self, loops: Iterable[Loop]) -> int:
        """Different places touched while these loops run."""
        return math.prod(loop.extent for loop in loops if loop.number in self.within)


@dataclass(frozen=True, slots=True)
class Leaf:
    """An innermost block: the loops around it from the outermost in, and its accesses."""

    loops: tuple[Loop, ...]
    reads: tuple[Access, ...]
    writes: tuple[Access, ...]
    tensorized: bool


def leaves(function: Any, without: Sequence[str] = ()) -> list[Leaf]:
    """The leaves of a PrimFunc in execution order, but for blocks with the names `without`."""
    walk = _Walk(frozenset(without))
    walk.statement(function.body, ())
    return [_compacted(leaf, walk.shared) for leaf in walk.leaves]


def _compacted(leaf: Leaf, shared: dict[int, tuple[Loop, ...]]) -> Leaf:
    def compact(access: Access) -> Access:
        common = shared.get(access.buffer)
        if not common:
            return access
        within = access.loops - {loop.number for loop in common}
        return replace(access, within=within)

    return Leaf(
        leaf.loops, tuple(map(compact, leaf.reads)), tuple(map(compact, leaf.writes)), leaf.tensorized
    )


@dataclass
class _Walk:
    """Collects leaves; `shared` holds, for buffers of the kernel's own, the loops that all users have in common."""

    without: frozenset[str]
    leaves: list[Leaf] = field(default_factory=list)
    shared: dict[int, tuple[Loop, ...]] = field(default_factory=dict)
    _local: set[int] = field(default_factory=set)
    _depends: dict[int, frozenset[int]] = field(default_factory=dict)
    _count: int = 0

    def statement(self, stmt: Any, loops: tuple[Loop, ...]) -> bool:
        """Walk a statement; whether a block was found in it."""
        if isinstance(stmt, tirx.SeqStmt):
            return self._all(stmt.seq, loops)
        if isinstance(stmt, tirx.For):
            return self._loop(stmt, loops)
        if isinstance(stmt, s_tir.SBlockRealize):
            self._block(stmt, loops)
            return True
        if isinstance(stmt, tirx.IfThenElse):
            branches = [stmt.then_case, *([stmt.else_case] if stmt.else_case is not None else [])]
            return self._all(branches, loops)
        body = getattr(stmt, "body", None)
        return body is not None and self.statement(body, loops)

    def _all(self, parts: Iterable[Any], loops: tuple[Loop, ...]) -> bool:
        found = False
        for part in parts:
            found = self.statement(part, loops) or found
        return found

    def _loop(self, stmt: Any, loops: tuple[Loop, ...]) -> bool:
        kind, marks = _KINDS.get(int(stmt.kind), SERIAL), frozenset(map(str, stmt.annotations))
        loop = Loop(self._count, integer(stmt.extent), kind, marks)
        self._count += 1
        self._depends[hash(stmt.loop_var)] = frozenset((loop.number,))
        return self.statement(stmt.body, (*loops, loop))

    def _block(self, realize: Any, loops: tuple[Loop, ...]) -> None:
        block = realize.block
        if str(block.name_hint) in self.without:
            return
        for variable, value in zip(block.iter_vars, realize.iter_values, strict=True):
            self._depends[hash(variable.var)] = self._loops_of(value)
        self._local.update(hash(buffer) for buffer in block.alloc_buffers)
        before = len(self.leaves)
        if self.statement(block.body, loops) and len(self.leaves) > before:
            return
        tensorized = len(block.match_buffers) > 0
        reads, writes = self._accesses(block.reads, loops), self._accesses(block.writes, loops)
        if self.without and not (reads or writes):
            return
        self.leaves.append(Leaf(loops, reads, writes, tensorized))

    def _accesses(self, regions: Any, loops: tuple[Loop, ...]) -> tuple[Access, ...]:
        found = []
        for region in regions:
            buffer = region.source
            identity = hash(buffer)
            elements = math.prod(integer(part.extent) for part in region.region)
            limit = width(buffer) * math.prod(integer(extent) for extent in buffer.shape)
            depends = frozenset().union(*(self._loops_of(part.min) for part in region.region))
            found.append(Access(identity, width(buffer) * elements, elements, limit, depends, depends))
            if identity in self._local:
                self.shared[identity] = _common(self.shared.get(identity, loops), loops)
        return tuple(found)

    def _loops_of(self, expression: Any) -> frozenset[int]:
        if isinstance(expression, tirx.Var):
            return self._depends.get(hash(expression), frozenset())
        if isinstance(expression, tirx.IntImm):
            return frozenset()
        variables = tirx.analysis.undefined_vars(expression)
        return frozenset().union(*(self._depends.get(hash(variable), frozenset()) for variable in variables))


def integer(value: Any) -> int:
    """A constant extent; 1 for one that is not constant, which kernels of static shapes hardly have."""
    return int(value) if isinstance(value, int | tirx.IntImm) else 1


def width(buffer: Any) -> int:
    """Bytes of an element."""
    return max(1, int(buffer.dtype.bits) * int(buffer.dtype.lanes) // 8)


def _common(first: tuple[Loop, ...], second: tuple[Loop, ...]) -> tuple[Loop, ...]:
    count = 0
    for one, other in zip(first, second, strict=False):
        if one.number != other.number:
            break
        count += 1
    return first[:count]

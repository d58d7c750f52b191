"""What a sketch has to know of a kernel, read off its blocks: nothing here depends on where the kernel comes from.

A kernel is one sum (the anchor) with what is computed for it before and what is computed from it afterwards. Which
dot-product instruction computes the sum, and which instructions its neighbours, is found by trying them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from tvm import tirx

from autotune_qnn.kernels.intrinsics import DEPTHWISE, ensure, sketch_intrinsics
from autotune_qnn.kernels.intrinsics.interleave import narrow_intrinsic, quads_intrinsic
from autotune_qnn.kernels.isa import DotShape, Isa, dot_shape
from autotune_qnn.tuning.loop_nest import integer
from autotune_qnn.tuning.replay import TVM_ERRORS, new_schedule

SPATIAL, REDUCTION = int(tirx.IterVar.DataPar), int(tirx.IterVar.CommReduce)
_NARROW = (16, 32, 64)
_LANES = (16, 8, 4, 2, 1)
_MOST_TAPS = 4


@dataclass(frozen=True)
class Operand:
    """What the anchor reads from one buffer.

    Attributes:
        buffer: its name.
        axes: places of the spatial axes that lead to other elements of it.
        sliding: those of them for which neighbouring steps read partly the same.
    """

    buffer: str
    axes: frozenset[int]
    sliding: frozenset[int]


@dataclass(frozen=True)
class Structure:
    """A kernel around one sum.

    Attributes:
        anchor: name of the block that sums.
        spatial, reduction: extents of its axes; the last spatial one runs over lanes of vectors.
        operands: what it reads.
        others: blocks with the same spatial axes that sum too, for the block `joined`.
        joined: the block behind the anchor that runs over the same axes, where there is one before the output.
        output: the last block.
        staged: blocks that prepare the anchor's data, the nearest first.
        movable: how many of them, from the nearest on, are read within the anchor's loops alone.
        apart: sums over other axes that a block behind the anchor reads.
        dot, lanes, tail: the instruction that computes the anchor ("" without one), lanes of its vectors, and how many
            of the innermost reduction axes it takes.
        pack, narrow: the instructions that compute the nearest of `staged`, and the output.
        shape: the instruction set's dot product, with its number of registers.
    """

    anchor: str
    spatial: tuple[int, ...]
    reduction: tuple[int, ...]
    operands: tuple[Operand, ...]
    others: tuple[str, ...]
    joined: str
    output: str
    staged: tuple[str, ...]
    movable: int
    apart: tuple[str, ...]
    dot: str
    lanes: int
    tail: int
    pack: str
    narrow: str
    shape: DotShape

    @cached_property
    def heads(self) -> tuple[int, ...]:
        """Extents of the reduction axes that the instruction does not take."""
        return self.reduction[: len(self.reduction) - self.tail]

    @cached_property
    def channel_axes(self) -> frozenset[int]:
        """The axes on which the operand depends that has the lanes and the fewest axes: that of the weights."""
        last = len(self.spatial) - 1
        with_lanes = [operand.axes for operand in self.operands if last in operand.axes]
        return min(with_lanes, key=len, default=frozenset((last,)))

    @property
    def tiled(self) -> str:
        """The block whose loops are tiled first."""
        return self.joined or self.anchor

    @cached_property
    def whole(self) -> int:
        """How many of the last axes a tile always holds entirely: those that the narrowing instruction reads."""
        return 2 if self.narrow else 0


def structure_of(mod: Any, isa: Isa) -> Structure | None:
    """The structure of an unscheduled kernel; None where it is no sum, or more than one after the other."""
    sch = new_schedule(mod)
    blocks = {block_name(sch, block): block for block in sch.get_child_blocks(sch.get_sblock("root"))}
    sums = [name for name, block in blocks.items() if axis_extents(sch, block, REDUCTION)]
    behind = {name: consumers_of(sch, blocks[name]) for name in sums}
    if not sums or any(set(chain) & set(sums) or not chain for chain in behind.values()):
        return None
    anchor = max(sums, key=lambda name: block_steps(sch, blocks[name]))
    spatial, chain = axis_extents(sch, blocks[anchor], SPATIAL), behind[anchor]
    same = [name for name in chain[:-1] if axis_extents(sch, blocks[name], SPATIAL) == spatial]
    if len(chain) > 2 or len(same) != len(chain) - 1:
        return None
    rest = [name for name in sums if name != anchor]
    others = [name for name in rest if same and axis_extents(sch, blocks[name], SPATIAL) == spatial]
    apart = [name for name in rest if name not in others]
    staged = producers_of(sch, blocks[anchor])
    if set(blocks) != {anchor, *chain, *rest, *staged}:
        return None
    dot, lanes, tail = instruction_of(mod, anchor, spatial, isa, sketch_intrinsics(isa))
    return Structure(
        anchor=anchor,
        spatial=spatial,
        reduction=axis_extents(sch, blocks[anchor], REDUCTION),
        operands=_operands(sch.get(blocks[anchor])),
        others=tuple(others),
        joined=same[0] if same else "",
        output=chain[-1],
        staged=tuple(staged),
        movable=_movable(sch, [blocks[name] for name in staged], apart),
        apart=tuple(apart),
        dot=dot,
        lanes=lanes,
        tail=tail,
        pack=_pack(mod, staged, 4 * lanes) if dot else "",
        narrow=_narrow(mod, chain[-1], sch.get(blocks[chain[-1]]), spatial),
        shape=dot_shape(isa),
    )


def block_name(sch: Any, block: Any) -> str:
    """A block's name."""
    return str(sch.get(block).name_hint)


def axis_extents(sch: Any, block: Any, kind: int) -> tuple[int, ...]:
    """Extents of a block's axes of one kind."""
    axes = sch.get(block).iter_vars
    return tuple(integer(axis.dom.extent) for axis in axes if int(axis.iter_type) == kind)


def block_steps(sch: Any, block: Any) -> int:
    """How many steps a block takes."""
    total = 1
    for axis in sch.get(block).iter_vars:
        total *= integer(axis.dom.extent)
    return total


def consumers_of(sch: Any, block: Any) -> list[str]:
    """The blocks behind a block, one after the other; none where one of them has two consumers."""
    names: list[str] = []
    while True:
        consumers = list(sch.get_consumers(block))
        if not consumers:
            return names
        if len(consumers) > 1:
            return []
        block = consumers[0]
        names.append(block_name(sch, block))


def producers_of(sch: Any, block: Any) -> list[str]:
    """The blocks before a block, the nearest first, as long as each has one producer."""
    names: list[str] = []
    producers = list(sch.get_producers(block))
    while len(producers) == 1:
        names.append(block_name(sch, producers[0]))
        producers = list(sch.get_producers(producers[0]))
    return names


def _movable(sch: Any, staged: Sequence[Any], apart: Sequence[str]) -> int:
    """How many of the nearest staged blocks no sum apart reads."""
    for count, block in enumerate(staged):
        if any(block_name(sch, reader) in apart for reader in sch.get_consumers(block)):
            return count
    return len(staged)


def _operands(block: Any) -> tuple[Operand, ...]:
    """What a block reads, its own result apart."""
    axes = [axis.var for axis in block.iter_vars if int(axis.iter_type) == SPATIAL]
    sums = [axis.var for axis in block.iter_vars if int(axis.iter_type) == REDUCTION]
    written = {str(region.source.name) for region in block.writes}
    found = []
    for region in block.reads:
        used: set[int] = set()
        sliding: set[int] = set()
        for part in region.region:
            variables = tirx.analysis.undefined_vars(part.min)
            places = {place for place, axis in enumerate(axes) if _among(axis, variables)}
            used |= places
            if any(_among(axis, variables) and extent > 1 for axis, extent in _with_extents(block, sums)):
                sliding |= places
        if str(region.source.name) not in written:
            found.append(Operand(str(region.source.name), frozenset(used), frozenset(sliding)))
    return tuple(found)


def _with_extents(block: Any, variables: Sequence[Any]) -> list[tuple[Any, int]]:
    extents = [(axis.var, integer(axis.dom.extent)) for axis in block.iter_vars]
    return [(variable, extent) for variable, extent in extents if _among(variable, variables)]


def _among(variable: Any, variables: Sequence[Any]) -> bool:
    return any(variable.same_as(other) for other in variables)


def _tries(mod: Any, steps: Callable[[Any], None]) -> bool:
    """Whether steps apply to a fresh schedule."""
    sch = new_schedule(mod)
    try:
        steps(sch)
    except TVM_ERRORS:
        return False
    return True


def instruction_of(
    mod: Any, anchor: str, spatial: tuple[int, ...], isa: Isa, names: Sequence[str]
) -> tuple[str, int, int]:
    """The first of some instructions that computes the anchor, its lanes, and the reduction axes that it takes."""
    shape = dot_shape(isa)
    candidates: list[tuple[str, int, int]] = []
    for name in names:
        narrower = name.startswith(DEPTHWISE)
        widths = [lanes for lanes in (16, 8, 4) if lanes <= shape.lanes] if narrower else [shape.lanes]
        candidates += [(name.replace(f"_{shape.lanes}x", f"_{lanes}x"), lanes, 1) for lanes in widths]
    for name, lanes, tail in candidates:
        if spatial[-1] % lanes == 0 and _tries(mod, partial(_dotted, anchor, name, lanes, tail)):
            return name, lanes, tail
    return "", next(lanes for lanes in _LANES if lanes <= shape.lanes and spatial[-1] % lanes == 0), 0


def _dotted(anchor: str, name: str, lanes: int, tail: int, sch: Any) -> None:
    ensure(name)
    block = sch.get_sblock(anchor)
    loops = list(sch.get_loops(block))
    count = len(axis_extents(sch, block, SPATIAL))
    outer, lane = sch.split(loops[count - 1], [None, lanes])
    heads, tails = loops[count : len(loops) - tail], loops[len(loops) - tail :]
    sch.reorder(*loops[: count - 1], outer, *heads, lane, *tails)
    update = sch.blockize(lane)
    sch.decompose_reduction(update, heads[0])
    sch.tensorize(update, name)


def _pack(mod: Any, staged: Sequence[str], group: int) -> str:
    """The instruction that interleaves what the nearest staged block joins."""
    if len(staged) < 2 or group not in _NARROW:
        return ""
    sch = new_schedule(mod)
    reads = sch.get(sch.get_sblock(staged[0])).reads
    taps = max(integer(part.extent) for region in reads for part in region.region)
    name = quads_intrinsic(group, taps)

    def steps(sch: Any) -> None:
        ensure(name)
        sch.tensorize(sch.blockize(sch.get_loops(sch.get_sblock(staged[0]))[-2]), name)

    return name if taps <= _MOST_TAPS and _tries(mod, steps) else ""


def _narrow(mod: Any, output: str, block: Any, spatial: tuple[int, ...]) -> str:
    """The instruction that narrows the output to bytes."""
    group = integer(block.iter_vars[-1].dom.extent)
    dtype = str(block.writes[0].source.dtype)
    if group not in _NARROW or spatial[-2:] != (4, group // 4) or dtype not in ("int8", "uint8"):
        return ""
    name = narrow_intrinsic(group, dtype)

    def steps(sch: Any) -> None:
        ensure(name)
        sch.tensorize(sch.blockize(sch.get_loops(sch.get_sblock(output))[-1]), name)

    return name if _tries(mod, steps) else ""

"""What a sketch has to know of a kernel whose sum lies in the middle of a chain, read off its blocks.

Behind the sum, blocks make the output of it in steps, each of which may read all of an axis at once; before it, each
operand may be prepared by steps of its own. Nothing here depends on where the kernel comes from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import tvm
from tvm import tirx

from autotune_qnn.kernels.intrinsics import sketch_intrinsics, words_intrinsic
from autotune_qnn.kernels.isa import Isa, dot_shape
from autotune_qnn.tuning.loop_nest import integer
from autotune_qnn.tuning.replay import new_schedule
from autotune_qnn.tuning.strategies.sketch_structure import (
    REDUCTION,
    SPATIAL,
    axis_extents,
    block_name,
    consumers_of,
    instruction_of,
    producers_of,
)


@dataclass(frozen=True)
class Prepared:
    """How an operand of the sum is made.

    Attributes:
        blocks: the blocks that make it, the nearest to the sum first.
        axes: how many axes the nearest has.
        mixing: places of those of its axes on which what it is made of does not depend.
        channels: whether it is other for each vector of output channels.
        size: bytes of an element.
    """

    blocks: tuple[str, ...]
    axes: int
    mixing: tuple[int, ...]
    channels: bool
    size: int


@dataclass(frozen=True)
class Stages:
    """A kernel around one sum with several blocks before or behind it.

    Attributes:
        anchor: name of the block that sums.
        spatial, reduction: extents of its axes; the last spatial one runs over lanes of vectors.
        chain: the blocks behind it, the last of which is the output.
        output: extents of the output's axes.
        leads: for each of the anchor's spatial axes the output's axis that leads along it, or None where the chain
            reads all of it for every output.
        prepared: the operands that blocks of the kernel make.
        dot, lanes, tail: the instruction that computes the anchor, lanes of its vectors, and how many of the innermost
            reduction axes it takes.
        registers: vector registers of the architecture.
    """

    anchor: str
    spatial: tuple[int, ...]
    reduction: tuple[int, ...]
    chain: tuple[str, ...]
    output: tuple[int, ...]
    leads: tuple[int | None, ...]
    prepared: tuple[Prepared, ...]
    dot: str
    lanes: int
    tail: int
    registers: int

    @cached_property
    def shared(self) -> tuple[int, ...]:
        """The output's axes that lead along axes of the anchor."""
        return tuple(sorted(axis for axis in self.leads if axis is not None))

    @cached_property
    def whole(self) -> tuple[int, ...]:
        """Places of the anchor's axes of which the chain reads everything."""
        return tuple(place for place, axis in enumerate(self.leads) if axis is None)

    @cached_property
    def heads(self) -> tuple[int, ...]:
        """Extents of the reduction axes that the instruction does not take."""
        return self.reduction[: len(self.reduction) - self.tail]


def stages_of(mod: Any, isa: Isa) -> Stages | None:
    """The structure of an unscheduled kernel; None where it has another form or no instruction fits."""
    sch = new_schedule(mod)
    blocks = {block_name(sch, block): block for block in sch.get_child_blocks(sch.get_sblock("root"))}
    sums = [name for name, block in blocks.items() if axis_extents(sch, block, REDUCTION)]
    if len(sums) != 1:
        return None
    anchor = sums[0]
    chain = consumers_of(sch, blocks[anchor])
    before = [
        (block_name(sch, block), *producers_of(sch, block)) for block in sch.get_producers(blocks[anchor])
    ]
    if not chain or set(blocks) != {anchor, *chain, *(name for names in before for name in names)}:
        return None
    leads = _leads(sch, [blocks[name] for name in (anchor, *chain)])
    spatial = axis_extents(sch, blocks[anchor], SPATIAL)
    shape = dot_shape(isa)
    names = [words_intrinsic(shape), *sketch_intrinsics(isa)] if shape.intrinsic else []
    dot, lanes, tail = instruction_of(mod, anchor, spatial, isa, names)
    output = axis_extents(sch, blocks[chain[-1]], SPATIAL)
    if leads is None or leads[-1] != len(output) - 1 or not dot:
        return None
    return Stages(
        anchor=anchor,
        spatial=spatial,
        reduction=axis_extents(sch, blocks[anchor], REDUCTION),
        chain=tuple(chain),
        output=output,
        leads=leads,
        prepared=tuple(_prepared(sch, blocks, anchor, names) for names in before),
        dot=dot,
        lanes=lanes,
        tail=tail,
        registers=shape.registers,
    )


def _axes(block: Any) -> list[Any]:
    return [axis.var for axis in block.iter_vars if int(axis.iter_type) == SPATIAL]


def _region(block: Any, buffer: str) -> Any | None:
    return next((region.region for region in block.reads if str(region.source.name) == buffer), None)


def _written(block: Any) -> str:
    return str(block.writes[0].source.name)


def _place(expression: Any, axes: Sequence[Any]) -> int | None:
    return next((place for place, axis in enumerate(axes) if axis.same_as(expression)), None)


def _leads(sch: Any, blocks: Sequence[Any]) -> tuple[int | None, ...] | None:
    """For each axis of the first block the last one's axis that leads along it; None where blocks do not read so."""
    bodies = [sch.get(block) for block in blocks]
    leads: list[int | None] = list(range(len(_axes(bodies[-1]))))
    for producer, consumer in zip(reversed(bodies[:-1]), reversed(bodies[1:]), strict=True):
        region, axes = _region(consumer, _written(producer)), _axes(consumer)
        if region is None:
            return None
        places = [_place(part.min, axes) if integer(part.extent) == 1 else None for part in region]
        leads = [None if place is None else leads[place] for place in places]
    known = [axis for axis in leads if axis is not None]
    return tuple(leads) if len(set(known)) == len(known) and known else None


def _prepared(sch: Any, blocks: dict[str, Any], anchor: str, names: tuple[str, ...]) -> Prepared:
    nearest = sch.get(blocks[names[0]])
    depends = _depends(sch, [blocks[name] for name in names])
    count = len(_axes(nearest))
    summed = sch.get(blocks[anchor])
    last, region = _axes(summed)[-1], _region(summed, _written(nearest))
    channels = any(
        variable.same_as(last) for part in region or () for variable in tirx.analysis.undefined_vars(part.min)
    )
    bits = tvm.DataType(str(nearest.writes[0].source.dtype)).bits
    mixing = tuple(place for place in range(count) if place not in depends)
    return Prepared(names, count, mixing, channels, bits // 8)


def _depends(sch: Any, blocks: Sequence[Any]) -> set[int]:
    """Places of the first block's axes on which what the last one reads depends."""
    body = sch.get(blocks[0])
    axes, found = _axes(body), set()
    if len(blocks) == 1:
        parts = [part for region in body.reads for part in region.region]
    else:
        inner = _depends(sch, blocks[1:])
        region = _region(body, _written(sch.get(blocks[1])))
        parts = [part for place, part in enumerate(region or ()) if place in inner]
    for part in parts:
        variables = tirx.analysis.undefined_vars(part.min)
        found |= {
            place for place, axis in enumerate(axes) if any(axis.same_as(variable) for variable in variables)
        }
    return found

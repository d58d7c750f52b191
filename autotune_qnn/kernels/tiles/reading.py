"""Reads off the blocks of an unscheduled convolution all that its code in tiles depends on.

Nothing is taken on trust: the places in memory that the block "conv" reads are computed from its own index expressions
and checked to be those that tiles can read. So a kernel that is built in another way than expected is refused, and no
annotation, whoever wrote it, leads to a read outside of a buffer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tvm_ffi
from numpy.typing import NDArray
from tvm import s_tir, tirx
from tvm.ir import TensorLoad
from tvm.sym import detect_linear_equation

from autotune_qnn.kernels.tiles.layout import TileKnobs, TileLayout, row_pitch

LANES, QUAD, TILE_QUADS = 16, 4, 16
"""Output channels of a tile of weights; bytes that are multiplied together; rows of a tile of weights."""

_SPATIAL = 4
_AXES = 8


class UnfitForTiles(Exception):  # noqa: N818 - says what a kernel is, and is no error of a user's
    """The kernel's blocks are not those of a convolution that tiles can compute."""


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise UnfitForTiles(what)


def _evaluate(expression: Any, values: Mapping[Any, NDArray[np.int64]]) -> NDArray[np.int64]:
    """An index expression for arrays of its variables' values."""
    if isinstance(expression, tirx.IntImm):
        return np.asarray(int(expression.value))
    if isinstance(expression, tirx.Var) and expression in values:
        return values[expression]
    binary: dict[Any, Any] = {
        tirx.Add: np.add,
        tirx.Sub: np.subtract,
        tirx.Mul: np.multiply,
        tirx.FloorDiv: np.floor_divide,
        tirx.FloorMod: np.mod,
    }
    for kind, compute in binary.items():
        if isinstance(expression, kind):
            sides: Any = expression
            found: NDArray[np.int64] = compute(_evaluate(sides.a, values), _evaluate(sides.b, values))
            return found
    raise UnfitForTiles(f"an index that is no sum of products: {expression}")


def _strides(buffer: Any) -> list[int]:
    extents = [int(extent) for extent in buffer.shape]
    return [int(np.prod(extents[axis + 1 :], dtype=np.int64)) for axis in range(len(extents))]


def _place(load: Any) -> Any:
    """The flat place in memory that a load reads, an expression."""
    total: Any = tirx.const(0, "int32")
    for index, stride in zip(load.indices, _strides(load.source), strict=True):
        total = total + index * stride
    return total


def _linear(expression: Any, variables: Sequence[Any]) -> tuple[list[int], Any]:
    """Integer coefficients of the variables, and what remains of the expression without them."""
    found = list(detect_linear_equation(expression, list(variables)))
    _require(len(found) == len(variables) + 1, f"an index that is not linear: {expression}")
    _require(
        all(isinstance(value, tirx.IntImm) for value in found[:-1]), f"a stride that varies: {expression}"
    )
    return [int(value.value) for value in found[:-1]], found[-1]


def find_blocks(body: Any) -> dict[str, Any]:
    """The blocks within a statement by name."""
    found: dict[str, Any] = {}

    def visit(block: Any, visitor: Any) -> None:
        found[str(block.name_hint)] = block
        visitor.default_visit(block)

    tvm_ffi.structural_visit(body, [(s_tir.SBlock, visit)])
    return found


@dataclass(frozen=True)
class TileProblem:
    """A convolution whose sums tiles can compute. Places and strides are in bytes of `data` and `weights`.

    Attributes:
        products, output: the blocks that sum products and that make the output of them.
        data, weights, sums: the buffers uint8, int8 and int32 of the block `products`.
        batch, height, width: of the output; the sums may have more columns.
        groups, blocks, channels: groups, vectors of 16 output channels of a group, its own output channels.
        kernel: rows and columns of taps.
        image_stride, row_stride, column_stride: between neighbouring places of the output.
        tap_strides: between neighbouring taps, by row and by column.
        group_stride: between the groups' first channels.
        step: quads of one tile. steps: the first byte of each tile along the channels.
        weight_strides: between blocks of output channels, tap rows, tap columns.
    """

    products: Any
    output: Any
    data: Any
    weights: Any
    sums: Any
    batch: int
    height: int
    width: int
    groups: int
    blocks: int
    channels: int
    kernel: tuple[int, int]
    image_stride: int
    row_stride: int
    column_stride: int
    tap_strides: tuple[int, int]
    group_stride: int
    step: int
    steps: tuple[int, ...]
    weight_strides: tuple[int, int, int]

    @classmethod
    def of(cls, func: Any) -> TileProblem:
        """The problem of a PrimFunc with the blocks "conv" and "output"; UnfitForTiles where it is none."""
        blocks = find_blocks(func.body)
        _require("conv" in blocks and "output" in blocks, "no blocks conv and output")
        products, output = blocks["conv"], blocks["output"]
        _require(len(products.iter_vars) == _AXES, "the sums do not run over eight axes")
        extents = [int(axis.dom.extent) for axis in products.iter_vars]
        variables = [axis.var for axis in products.iter_vars]
        data, weights = _operands(products.body)
        batch, height, width, padded, *kernel, quads, quad = extents
        _require(quad == QUAD and padded % LANES == 0, "channels are not in quads and vectors of 16")
        _, _, _, channel, *_ = variables
        moved = [*variables[:3], *variables[4:6], variables[7]]
        strides, rest = _linear(_place(data), moved)
        _require(strides[-1] == 1, "the channels of the data do not follow each other")
        groups, group_stride, places = _groups_and_steps(rest, channel, variables[6], padded, quads)
        step = _step(places)
        kernel_strides = _weight_strides(weights, variables, padded, step)
        width, channels = _of_output(output, products.body.buffer, (batch, height, width), groups, padded)
        return cls(
            products,
            output,
            data.source,
            weights.source,
            products.body.buffer,
            batch,
            height,
            width,
            groups,
            padded // LANES // groups,
            channels,
            (kernel[0], kernel[1]),
            strides[0],
            strides[1],
            strides[2],
            (strides[3], strides[4]),
            group_stride,
            step,
            tuple(int(place) for place in places[::step]),
            kernel_strides,
        )

    def layout(self, knobs: TileKnobs) -> TileLayout:
        """The tiles over the output; UnfitForTiles where its rows are at no whole number of pixels for flat runs."""
        pitch = (
            row_pitch(self.row_stride, self.column_stride, self.height, self.width) if knobs.flat else None
        )
        _require(pitch is not None or not knobs.flat, "rows at no whole number of pixels")
        return TileLayout.of(self.batch, self.height, self.width, pitch)


def _operands(store: Any) -> tuple[Any, Any]:
    """The loads of data and weights in `sums = sums + int32(data) * int32(weights)`."""
    value: Any = getattr(store, "value", None)
    _require(isinstance(value, tirx.Add) and isinstance(value.b, tirx.Mul), "no sum of products")
    loads: list[Any] = []
    for cast, dtype in ((value.b.a, "uint8"), (value.b.b, "int8")):
        load: Any = getattr(cast, "value", None)
        _require(isinstance(cast, tirx.Cast) and isinstance(load, TensorLoad), "a product of no two loads")
        _require(str(load.source.dtype) == dtype, f"an operand that is not {dtype}")
        loads.append(load)
    _require(str(store.buffer.dtype) == "int32", "sums that are not int32")
    return loads[0], loads[1]


def _groups_and_steps(
    rest: Any, channel: Any, quad: Any, padded: int, quads: int
) -> tuple[int, int, NDArray[np.int64]]:
    """Groups, bytes between their first channels, and the first byte of every quad."""
    every, zero = np.arange(quads), np.zeros(1, np.int64)
    places = np.broadcast_to(_evaluate(rest, {quad: every, channel: zero}), (quads,))
    firsts = np.broadcast_to(_evaluate(rest, {quad: zero, channel: np.arange(padded)}), (padded,)) - places[0]
    groups = len(np.unique(firsts))
    _require(padded % (groups * LANES) == 0, "groups that are not whole vectors")
    stride = int(firsts[-1] - firsts[0]) // max(groups - 1, 1)
    expected = np.arange(padded) // (padded // groups) * stride
    _require(bool(np.array_equal(firsts, expected)), "groups whose channels do not follow each other")
    both = _evaluate(rest, {quad: every[:, None], channel: np.arange(0, padded, LANES)[None]})
    sums = places[:, None] + firsts[None, ::LANES]
    _require(bool(np.all(both == sums)), "quads that differ between groups")
    return groups, stride, places


def _step(places: NDArray[np.int64]) -> int:
    """The most quads, up to 16, that a row of data holds one after the other wherever a step begins."""
    for step in range(min(TILE_QUADS, len(places)), 0, -1):
        if len(places) % step == 0:
            rows = places.reshape(-1, step)
            if np.array_equal(rows - rows[:, :1], np.broadcast_to(QUAD * np.arange(step), rows.shape)):
                return step
    raise UnfitForTiles("quads that do not follow each other")


def _weight_strides(load: Any, variables: Sequence[Any], padded: int, step: int) -> tuple[int, int, int]:
    channel, row, column, quad, inner = variables[3:]
    strides, rest = _linear(_place(load), (row, column, quad, inner))
    _require(strides[2:] == [LANES * QUAD, 1], f"weights that are not in tiles of {step} quads")
    lanes = np.arange(padded)
    places = np.broadcast_to(_evaluate(rest, {channel: lanes}), (padded,))
    block = int(places[LANES] - places[0]) if padded > LANES else 0
    expected = lanes // LANES * block + lanes % LANES * QUAD
    _require(bool(np.array_equal(places, expected)), "weights whose channels are not in vectors of 16")
    return block, strides[0], strides[1]


def _of_output(
    output: Any, sums: Any, extents: tuple[int, int, int], groups: int, padded: int
) -> tuple[int, int]:
    """Columns of the output, which may be fewer than the sums', and output channels of a group.

    Checks that each element of the output is made of its own sum alone.
    """
    loads: list[Any] = []

    def visit(load: Any, visitor: Any) -> None:
        if load.source.same_as(sums):
            loads.append(load)
        visitor.default_visit(load)

    _require(isinstance(output.body, tirx.BufferStore), "an output that is no single store")
    tvm_ffi.structural_visit(output.body.value, [(TensorLoad, visit)])
    axes = {axis.var: int(axis.dom.extent) for axis in output.iter_vars}
    *places, last = axes
    total = axes[last]
    _require(bool(loads) and total % groups == 0, "an output that does not read the sums")
    own, wide = total // groups, padded // groups
    numbers = np.arange(total)
    expected = numbers // own * wide + numbers % own
    width = extents[-1]
    for load in loads:
        *index, channel = load.indices
        found = np.broadcast_to(_evaluate(channel, {last: numbers}), (total,))
        _require(bool(np.array_equal(found, expected)), "output channels in another order than the sums'")
        waiting = [place for place in places if axes[place] > 1]
        for number, (part, extent) in enumerate(zip(index, extents, strict=True)):
            if extent > 1:
                _require(bool(waiting) and part.same_as(waiting[0]), "an output of other places than its own")
                rows = axes[waiting.pop(0)]
                fewer = number == len(extents) - 1 and rows < extent
                _require(rows == extent or fewer, "an output of another shape than the sums")
                width = rows if fewer else width
        _require(not waiting, "an output of more axes than the sums")
    return width, own

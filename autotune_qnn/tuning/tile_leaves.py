"""A convolution on tiles as leaves: its schedule is an annotation, and the loops that follow from it are made here.

The figures are those of a whole step, every tile of sums with its loads, so that what is computed from them compares
with register tiles, whose steps are in the schedule itself.
"""

from __future__ import annotations

import math
from typing import Any

from autotune_qnn.kernels.geometry import ceil_div
from autotune_qnn.kernels.templates.primitives import WEAVE
from autotune_qnn.kernels.tiles import ANNOTATION, TileKnobs, TileLayout, TileProblem, UnfitForTiles
from autotune_qnn.kernels.tiles.reading import LANES, QUAD, find_blocks
from autotune_qnn.tuning.loop_nest import PARALLEL, SERIAL, UNROLLED, VECTORIZED, Access, Leaf, Loop

_FIRST_NUMBER = 1 << 20
_SUMS, _OUTPUT = -1, -2


def tile_leaves(function: Any) -> list[Leaf]:
    """The leaves of sums and output of a PrimFunc whose block "conv" asks for tiles; none for any other."""
    block = find_blocks(function.body).get("conv")
    if block is None or ANNOTATION not in block.annotations:
        return []
    knobs = TileKnobs.of(list(block.annotations[ANNOTATION]))
    if knobs is None:
        return []
    try:
        problem = TileProblem.of(function)
        layout = problem.layout(knobs)
    except UnfitForTiles:
        return []
    return _Nest(problem, layout, knobs).leaves()


class _Nest:
    """The loops of one kernel by name, numbered from one that no loop of the function has."""

    def __init__(self, problem: TileProblem, layout: TileLayout, knobs: TileKnobs) -> None:
        self.problem, self.layout, self.knobs = problem, layout, knobs
        row_groups = ceil_div(layout.count, knobs.row_tiles)
        blocks = ceil_div(problem.blocks, knobs.channel_tiles)
        band = min(knobs.band, row_groups)
        by_channels = knobs.split == 2
        tasks = problem.groups * (blocks if by_channels else ceil_div(row_groups, band))
        extents = {
            "task": (tasks, PARALLEL if knobs.split else SERIAL),
            "block": (1 if by_channels else blocks, SERIAL),
            "pixels": (row_groups if by_channels else band, SERIAL),
            "kh": (problem.kernel[0], SERIAL),
            "kw": (problem.kernel[1], SERIAL),
            "part": (len(problem.steps), SERIAL),
            "rows": (knobs.row_tiles, UNROLLED),
            "columns": (knobs.channel_tiles, UNROLLED),
            "row": (knobs.row_tiles * layout.rows, SERIAL),
            "lane": (knobs.channel_tiles * LANES, VECTORIZED),
        }
        marks = frozenset({WEAVE} if knobs.weave else ())
        self._loops = {
            name: Loop(_FIRST_NUMBER + place, extent, kind, marks if name == "pixels" else frozenset())
            for place, (name, (extent, kind)) in enumerate(extents.items())
        }
        self._task_of_channels = by_channels

    def leaves(self) -> list[Leaf]:
        """The sums' leaf, then the output's."""
        outer = ["block", "pixels"] if self.knobs.channels_outside else ["pixels", "block"]
        sums = ["part", "kh", "kw"] if self.knobs.taps_inside else ["kh", "kw", "part"]
        names = ["task", *outer]
        return [
            self._leaf([*names, *sums, "rows", "columns"], self._operands(), self._sums("rows", "columns")),
            self._leaf([*names, "row", "lane"], [self._sums("row", "lane", 4)], self._result()),
        ]

    def _leaf(self, names: list[str], reads: list[Access], write: Access) -> Leaf:
        return Leaf(tuple(self._loops[name] for name in names), tuple(reads), (write,), True)

    def _access(self, buffer: int, size: int, elements: int, limit: int, names: tuple[str, ...]) -> Access:
        numbers = frozenset(self._loops[name].number for name in names)
        return Access(buffer, size, elements, max(limit, size), numbers, numbers)

    def _operands(self) -> list[Access]:
        problem = self.problem
        depth = problem.step * QUAD
        pixels = () if self._task_of_channels else ("task",)
        channels = ("task",) if self._task_of_channels else ()
        data, weights = (
            math.prod(int(extent) for extent in buffer.shape) for buffer in (problem.data, problem.weights)
        )
        size = self.layout.rows * depth
        taps = ("kh", "kw", "part")
        return [
            self._access(hash(problem.data), size, size, data, (*pixels, "pixels", *taps, "rows")),
            self._access(
                hash(problem.weights),
                depth * LANES,
                depth * LANES,
                weights,
                (*channels, "block", *taps, "columns"),
            ),
        ]

    def _sums(self, first: str, second: str, size: int = 0) -> Access:
        """The sums that tiles hold, or (with a size) that the output reads one at a time."""
        elements = 1 if size else self.layout.rows * LANES
        whole = self.knobs.row_tiles * self.layout.rows * self.knobs.channel_tiles * LANES * 4
        return self._access(_SUMS, size or elements * 4, elements, whole, (first, second))

    def _result(self) -> Access:
        problem = self.problem
        count = problem.batch * problem.height * problem.width * problem.groups * problem.channels
        return self._access(_OUTPUT, 1, 1, count, ("task", "block", "pixels", "row", "lane"))

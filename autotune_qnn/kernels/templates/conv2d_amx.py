"""The schedule template of convolutions and dense layers on AMX's tiles.

The processor multiplies a tile of 16 pixels x 64 channels with one of 64 channels x 16 output channels in 16 cycles,
1024 multiply-accumulates a cycle, eight times what VNNI does; a tile that is not full takes as long. Making the output
of the sums is left to vectors, which of a 1x1 convolution of few channels is most of the time. It goes on beside the
products of the next tiles (the knob weave). For very few channels register tiles with VNNI, which this template has
among its configurations, may do as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from autotune_qnn.kernels.geometry import ConvGeometry, ceil_div
from autotune_qnn.kernels.isa import DotShape
from autotune_qnn.kernels.templates.base import Config, ConfigSpace, Knob, ScheduleRejected, TemplateFactory
from autotune_qnn.kernels.templates.conv2d import ConvTemplate
from autotune_qnn.kernels.templates.parallel import evenness, worthwhile
from autotune_qnn.kernels.templates.primitives import copy_rows, find_block
from autotune_qnn.kernels.tiles import ALL, ANNOTATION, TileKnobs, TileLayout, TileProblem, UnfitForTiles
from autotune_qnn.kernels.tiles.layout import row_pitch

_VECTOR_CONFIGS = 8
_MACS_PER_NS = 1000.0
_EVEN = 0.95
_PRODUCT_CYCLES, _STORE_CYCLES = 16, 12
"""Of a product of tiles, and what remains of storing sums where vectors work at the same time."""
_GAP_CYCLES = 2
"""For a pixel and 16 channels of a flat run with gaps: finding out where the pixel is, and whether it is one."""
_VECTOR_STEPS_PER_CYCLE = 2
_FIRST_CACHE_BYTES = 24 * 1024
_SECOND_CACHE_BYTES = 512 * 1024
_CHANNELS_IN_PARALLEL = 2
_COPIED_LANES = (64, 32, 16, 8, 4)


def suits_tiles(geometry: ConvGeometry, dot: DotShape) -> bool:
    """Whether a target has tiles and a convolution more than the one pixel that a vector would do for."""
    return dot.tiles and geometry.batch * geometry.out_height * geometry.out_width > 1


@dataclass(frozen=True)
class ConvAmxTemplate:
    """Template of one convolution whose geometry is `in_tiles()`; see the module's documentation."""

    geometry: ConvGeometry
    dot: DotShape
    threads: int

    @property
    def name(self) -> str:
        """conv2d_amx."""
        return "conv2d_amx"

    @classmethod
    def factory(cls, geometry: ConvGeometry, dot: DotShape) -> TemplateFactory:
        """The template for each number of threads."""
        return lambda threads: cls(geometry, dot, threads)

    @cached_property
    def _register_template(self) -> ConvTemplate:
        return ConvTemplate(self.geometry, self.dot, self.threads)

    @cached_property
    def _register_configs(self) -> tuple[Config, ...]:
        """Register tiles worth trying: the default of their template, and what is next to it."""
        default = self._register_template.default()
        near = self._register_template.space().neighbours(default)
        return (default, *near)[:_VECTOR_CONFIGS]

    @cached_property
    def _layouts(self) -> dict[int, TileLayout]:
        """Tiles over single rows (0), and over whole images (1) where that can be."""
        conv = self.geometry
        extents = (conv.batch, conv.out_height, conv.out_width)
        layouts = {0: TileLayout.of(*extents, None)}
        pitch = row_pitch(*conv.pixel_strides, *extents[1:])
        if pitch is not None:
            layouts[1] = TileLayout.of(*extents, pitch)
        return layouts

    @cached_property
    def _blocks(self) -> int:
        """Vectors of output channels of a group."""
        return self.geometry.padded_group_outputs(self.dot.lanes) // self.dot.lanes

    @property
    def _steps(self) -> int:
        return self.geometry.quads // self.geometry.step

    def _row_groups(self, values: Mapping[str, int]) -> int:
        return ceil_div(self._layouts[values["flat"]].count, values["row_tiles"])

    def _fits(self, values: Mapping[str, int]) -> bool:
        if values["registers"]:
            first = self._knobs
            return all(values[knob.name] == knob.values[0] for knob in first if knob.name != "registers")
        rows, channels = values["row_tiles"], values["channel_tiles"]
        if rows * channels + rows + channels > 8 or rows > self._layouts[values["flat"]].count:
            return False
        if values["weave"] and self._row_groups(values) == 1:
            return False
        if values["split"] == _CHANNELS_IN_PARALLEL:
            groups = self.geometry.groups * ceil_div(self._blocks, channels)
            return groups > 1 and values["band"] == ALL and not values["channels_outside"]
        if values["weave"] and (values["band"] == 1 or not self._by_channels(values)):
            return False
        return values["band"] == ALL or values["band"] < self._row_groups(values)

    def _by_channels(self, values: Mapping[str, int]) -> bool:
        """Whether the innermost groups of tiles differ in pixels alone."""
        return bool(values["channels_outside"]) or self._blocks <= values["channel_tiles"]

    @cached_property
    def _knobs(self) -> tuple[Knob, ...]:
        taps = self.geometry.kernel[0] * self.geometry.columns
        most = max(layout.count for layout in self._layouts.values())
        return (
            Knob("registers", tuple(range(len(self._register_configs) + 1))),
            Knob("row_tiles", tuple(count for count in (1, 2, 3) if count <= most)),
            Knob("channel_tiles", tuple(count for count in (1, 2, 3) if count <= self._blocks)),
            Knob("flat", tuple(sorted(self._layouts))),
            Knob("band", (ALL, *(band for band in (1, 2, 4, 8, 16) if band < most))),
            Knob("channels_outside", (0, 1) if self._blocks > 1 else (0,)),
            Knob("taps_inside", (0, 1) if taps > 1 and self._steps > 1 else (0,)),
            Knob("split", (0, 1, 2) if self.threads > 1 else (0,)),
            Knob("weave", (0, 1) if most > 1 else (0,)),
        )

    def space(self) -> ConfigSpace:
        """The knobs.

        registers: tiles (0), or one of several schedules with VNNI in registers. The others are those of
        `TileKnobs`.
        """
        return ConfigSpace(self._knobs, self._fits)

    def default(self) -> Config:
        """What takes the fewest cycles on paper."""
        layout = min(self._layouts.items(), key=lambda item: (self._tile_cycles(item[1]), item[0]))
        values = {knob.name: knob.values[0] for knob in self._knobs}
        if self._register_cycles <= self._tile_cycles(layout[1]):
            return Config.from_mapping({**values, "registers": 1})
        values["flat"] = layout[0]
        values["row_tiles"] = min(2, layout[1].count)
        values["channel_tiles"] = min(2, self._blocks)
        if values["channel_tiles"] == 1:
            values["row_tiles"] = min(3, layout[1].count)
        self._order(values, layout[1])
        values["weave"] = 1
        if not self._fits(values):
            values["weave"] = 0
        return Config.from_mapping(values)

    @property
    def _taps(self) -> int:
        return self.geometry.kernel[0] * self.geometry.columns

    @property
    def _register_cycles(self) -> float:
        conv = self.geometry
        vectors = conv.batch * conv.out_height * conv.out_width * conv.groups * self._blocks
        return vectors * self._taps * conv.quads / _VECTOR_STEPS_PER_CYCLE

    def _tile_cycles(self, layout: TileLayout) -> float:
        products = self._taps * self._steps * _PRODUCT_CYCLES
        cycles = products + _STORE_CYCLES
        if layout.pitch != layout.width:
            cycles += layout.rows * _GAP_CYCLES
        return layout.count * self.geometry.groups * self._blocks * cycles

    def _order(self, values: dict[str, int], layout: TileLayout) -> None:
        """Choose the knobs of order: weights are read once where they are large, data stay near where they are not."""
        conv = self.geometry
        groups = self._row_groups(values)
        channel_groups = conv.groups * ceil_div(self._blocks, values["channel_tiles"])
        weights = conv.groups * self._blocks * 16 * self._taps * conv.quads * 4
        data = conv.batch * conv.height * conv.width * conv.channels
        bands = next(knob.values for knob in self._knobs if knob.name == "band")
        if worthwhile(conv.macs / _MACS_PER_NS, self.threads, max(groups, channel_groups)):
            by_channels = weights > data or groups < self.threads
            values["split"] = 2 if by_channels and channel_groups >= self.threads else 1
        if values["split"] == _CHANNELS_IN_PARALLEL:
            return
        values["channels_outside"] = int(self._blocks > 1)
        wanted = groups
        if weights <= _SECOND_CACHE_BYTES:
            pixels = values["row_tiles"] * layout.rows * conv.strides[0] * conv.strides[1]
            wanted = max(1, _FIRST_CACHE_BYTES // max(1, pixels * conv.channels))
        if not values["split"] and wanted >= groups:
            return
        fitting = [band for band in bands if band < groups and band <= wanted] or [ALL]
        if values["split"]:
            even = {band: min(evenness(ceil_div(groups, band), self.threads), _EVEN) for band in fitting}
            fitting = [band for band in fitting if even[band] == max(even.values())]
        values["band"] = max(fitting)
        if values["band"] == 1 and not values["split"]:
            values["band"] = ALL  # in a band of one group nothing is woven

    def apply(self, sch: Any, config: Config) -> None:
        """Schedule the blocks data_pad, window_sum, conv, corrected and output.

        Raises ScheduleRejected where the kernel is none that tiles can compute.
        """
        knob = config.as_dict()
        if knob["registers"]:
            self._register_template.apply(sch, self._register_configs[knob["registers"] - 1])
            return
        corrected = find_block(sch, "corrected")
        if corrected is not None:
            sch.compute_inline(corrected)
        self._prologue(sch, bool(knob["split"]))
        knobs = TileKnobs(**{name: knob[name] for name in TileKnobs.__slots__})
        try:
            TileProblem.of(sch.mod["main"]).layout(knobs)
        except UnfitForTiles as error:
            raise ScheduleRejected(str(error)) from error
        sch.annotate(sch.get_sblock("conv"), ANNOTATION, list(knobs.values))

    def _prologue(self, sch: Any, parallel: bool) -> None:
        """Schedule what runs before the tiles: the windows' sums, and the copy with the border."""
        sums, pad = find_block(sch, "window_sum"), find_block(sch, "data_pad")
        if sums is not None and parallel:
            loops = sch.get_loops(sums)
            sch.parallel(sch.fuse(loops[0], loops[1]))
        if pad is not None:
            extent = int(sch.get(sch.get_loops(pad)[-1]).extent)
            lanes = next((count for count in _COPIED_LANES if extent % count == 0), 1)
            copy_rows(sch, pad, lanes, parallel)

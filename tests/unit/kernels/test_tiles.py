"""Layout of tiles, their configuration, what is refused, and the instructions that LLVM makes of them."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from functools import cache
from typing import Any

import numpy as np
import pytest
import tvm
from hypothesis import given
from hypothesis import strategies as st

from autotune_qnn.engines.relax import TargetSpec, TuningTask, lower
from autotune_qnn.kernels.geometry import ConvGeometry
from autotune_qnn.kernels.isa import Isa, dot_shape
from autotune_qnn.kernels.templates.base import Config
from autotune_qnn.kernels.templates.conv2d import ConvTemplate
from autotune_qnn.kernels.templates.conv2d_amx import ConvAmxTemplate
from autotune_qnn.kernels.tiles import ALL, ANNOTATION, TileKnobs, TileLayout, TileProblem, UnfitForTiles
from autotune_qnn.kernels.tiles.writing import configuration
from autotune_qnn.logs import TrialRecord
from autotune_qnn.transforms.tir_pipeline import compile_kernel
from autotune_qnn.tuning.replay import replay, trace_json
from tests.support.networks import ConvCase

SAPPHIRE_RAPIDS = TargetSpec.parse("llvm -mcpu=sapphirerapids")
POINTWISE = ConvCase(14, 14, 1024, 512)


@cache
def task_of(case: ConvCase) -> TuningTask:
    return lower(case.module(), SAPPHIRE_RAPIDS, 2).tasks[0]


def scheduled(case: ConvCase, config: Config) -> Any:
    task = task_of(case)
    template = task.template()
    assert isinstance(template, ConvAmxTemplate)
    schedule = tvm.s_tir.Schedule(task.mod, debug_mask="none")
    template.apply(schedule, config)
    return schedule


def knobs(**changes: int) -> Config:
    usual = TileKnobs(2, 2, 0, ALL, 0, 0, 0)
    return Config.from_mapping({"registers": 0, **dataclasses.asdict(usual), **changes})


def instructions(case: ConvCase, config: Config) -> Counter[str]:
    """How often each tile instruction stands in the assembly of a kernel for Sapphire Rapids."""
    module = compile_kernel(scheduled(case, config).mod, SAPPHIRE_RAPIDS.tvm())
    names = "ldtilecfg|tilerelease|tilezero|tileloadd|tilestored|tdpbusd|tdpbssd|sttilecfg"
    return Counter(re.findall(rf"^\s+({names})\b", module.inspect_source("asm"), re.MULTILINE))


def test_a_step_is_four_loads_and_four_products_in_the_assembly() -> None:
    found = instructions(POINTWISE, knobs())
    steps = found["tdpbusd"] // 4
    assert steps in (1, 2, 4, 8, 16), "LLVM may unroll the loop over 16 steps"
    loops = {"ldtilecfg": 1, "tilerelease": 1, "tilezero": 4, "tilestored": 4}
    assert found == {**loops, "tileloadd": 4 * steps, "tdpbusd": 4 * steps}


def test_groups_at_the_end_with_fewer_tiles_have_code_of_their_own() -> None:
    found = instructions(dataclasses.replace(POINTWISE, height=15, outputs=528), knobs(split=1, band=4))
    steps, rest = divmod(found["tdpbusd"], 4 + 2 + 2 + 1)
    assert rest == 0
    assert found["tileloadd"] == steps * (4 + 3 + 3 + 2)
    assert found["tilezero"] == found["tilestored"] == 4 + 2 + 2 + 1
    assert found["ldtilecfg"] == found["tilerelease"] == 1


def test_register_tiles_are_among_the_configurations() -> None:
    template = task_of(POINTWISE).template()
    assert isinstance(template, ConvAmxTemplate)
    registers = next(config for config in template.space().enumerate() if config["registers"] == 1)
    assert not instructions(POINTWISE, registers)


@pytest.mark.parametrize(
    ("case", "tiles"),
    [
        (POINTWISE, True),
        (ConvCase(56, 56, 8, 96), False),
        (ConvCase(56, 56, 16, 96), True),
        (ConvCase(112, 112, 32, 16), True),
        (ConvCase(32, 32, 3, 16, 3, 2, 1), True),
        (ConvCase(32, 32, 3, 64, 7, 2, 3), True),
        (ConvCase(14, 14, 256, 256, 3, 1, 1), True),
        (ConvCase(28, 28, 32, 64, 3, 1, 1, groups=8), False),
    ],
    ids=str,
)
def test_what_has_few_channels_stays_in_registers(case: ConvCase, tiles: bool) -> None:
    template = task_of(case).template()
    assert isinstance(template, ConvAmxTemplate)
    assert template.space().is_valid(template.default())
    assert (template.default()["registers"] == 0) == tiles


@pytest.mark.parametrize(
    ("case", "flat", "weave"),
    [
        (ConvCase(28, 28, 128, 128, 3, 1, 1), 0, 1),
        (ConvCase(7, 7, 512, 512, 3, 1, 1), 1, 1),
        (ConvCase(14, 14, 64, 384), 1, 1),
        (POINTWISE, 1, 1),
        (ConvCase(4, 4, 256, 64), 1, 0),
    ],
    ids=str,
)
def test_default_runs_and_weaving(case: ConvCase, flat: int, weave: int) -> None:
    """Flat runs where they need clearly fewer tiles; weaving where there is a next group of tiles."""
    template = task_of(case).template()
    assert isinstance(template, ConvAmxTemplate)
    default = template.default()
    assert template.space().is_valid(default)
    assert (default["registers"], default["flat"], default["weave"]) == (0, flat, weave)


def test_woven_groups_have_no_instructions_of_tiles_twice() -> None:
    """Outputs stand beside the products of the next group and once behind them; products do not."""
    found = instructions(dataclasses.replace(POINTWISE, height=15), knobs(channels_outside=1, weave=1))
    assert found["tilezero"] == found["tilestored"] == 4 + 2
    assert found["ldtilecfg"] == found["tilerelease"] == 1


def test_one_pixel_is_left_to_vectors() -> None:
    assert isinstance(task_of(ConvCase(1, 1, 64, 100)).template(), ConvTemplate)


@given(st.integers(1, 3), st.integers(1, 40), st.integers(1, 40), st.integers(0, 5), st.booleans())
def test_every_pixel_is_stored_once(images: int, height: int, width: int, border: int, flat: bool) -> None:
    pitch = width + border if flat and height > 1 else None
    layout = TileLayout.of(images, height, width, pitch)
    assert 1 <= layout.rows <= 16
    stored: Counter[int] = Counter()
    for tile in range(layout.tiles):
        first = min(tile * layout.rows, layout.length - layout.rows)
        assert first >= 0
        stored.update(range(max(first, tile * layout.rows), first + layout.rows))
    assert stored == dict.fromkeys(range(layout.length), 1)
    own = sum(place % layout.pitch < width for place in range(layout.length))
    assert own * layout.runs == images * height * width


def test_configuration_is_what_the_processor_reads() -> None:
    problem = TileProblem.of(task_of(ConvCase(14, 14, 96, 24)).mod["main"])
    chosen = TileKnobs(2, 2, 0, ALL, 0, 0, 0)
    memory = np.array(configuration(problem, problem.layout(chosen), chosen), "<i4").view(np.uint8)
    assert memory[0] == 1
    assert not memory[1:16].any()
    assert memory[16:32].view("<u2").tolist() == [64, 64, 64, 64, 48, 48, 64, 64]
    assert memory[48:56].tolist() == [14, 14, 14, 14, 14, 14, 12, 12]
    assert not memory[32:48].any()
    assert not memory[56:].any()


@pytest.mark.parametrize(
    "values",
    [
        (2,),
        (2, 2, 0, ALL, 0, 0),
        (3, 2, 0, ALL, 0, 0, 0),
        (0, 2, 0, ALL, 0, 0, 0),
        (2, 2, 2, ALL, 0, 0, 0),
        (2, 2, 0, 0, 0, 0, 0),
        (2, 2, 0, ALL, 0, 0, 3),
        (2, -2, 0, ALL, 0, 0, 0, 0),
        (2, 2, 0, ALL, 0, 0, 0, 2),
    ],
)
def test_knobs_that_cannot_be_are_refused(values: tuple[int, ...]) -> None:
    assert TileKnobs.of(values) is None
    schedule = tvm.s_tir.Schedule(task_of(POINTWISE).mod, debug_mask="none")
    schedule.annotate(schedule.get_sblock("conv"), ANNOTATION, list(values))
    with pytest.raises(RuntimeError, match="cannot be computed on tiles"):
        compile_kernel(schedule.mod, SAPPHIRE_RAPIDS.tvm())


def test_other_kernels_are_refused() -> None:
    depthwise = lower(ConvCase(14, 14, 32, 32, 3, 1, 1, groups=32).module(), SAPPHIRE_RAPIDS, 1).tasks[0]
    with pytest.raises(UnfitForTiles):
        TileProblem.of(depthwise.mod["main"])
    target = TargetSpec.parse("llvm -mcpu=haswell")
    pairs = lower(POINTWISE.module(), target, 1).tasks[0]
    with pytest.raises(UnfitForTiles):
        TileProblem.of(pairs.mod["main"])


def test_flat_runs_need_rows_at_whole_pixels() -> None:
    problem = TileProblem.of(task_of(ConvCase(9, 9, 5, 33, 3, 1, 1)).mod["main"])
    with pytest.raises(UnfitForTiles, match="whole number"):
        problem.layout(TileKnobs(1, 1, 1, ALL, 0, 0, 0))


def test_a_log_brings_the_tiles_back() -> None:
    config = knobs(flat=1, band=2, channels_outside=1, split=1)
    schedule = scheduled(POINTWISE, config)
    record = TrialRecord.__new__(TrialRecord)
    for name, value in {"trial": 1, "task_name": "conv", "trace": trace_json(schedule)}.items():
        object.__setattr__(record, name, value)
    again = replay(record, task_of(POINTWISE).mod)
    tvm.ir.assert_structural_equal(again.mod, schedule.mod)


@pytest.mark.parametrize("channels", [4, 60, 64, 68, 96, 116, 144, 160, 232, 960])
def test_steps_of_a_tile_hold_every_weight_once(channels: int) -> None:
    geometry = ConvGeometry(1, 4, 4, channels, 16, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0)).in_tiles()
    steps = geometry.quads // geometry.step
    assert geometry.step <= 16
    assert steps == -(-channels // 64)
    weights = np.random.default_rng(0).integers(1, 100, (16, 1, 1, channels))
    packed = geometry.pack(weights, dot_shape(Isa.AMX_INT8)).reshape(geometry.quads, 16, 4)
    found = np.zeros((16, channels), int)
    for quad in range(geometry.quads):
        first = geometry.quad_byte(quad)
        assert 0 <= first <= channels - 4
        found[:, first : first + 4] += packed[quad]
    np.testing.assert_array_equal(found, weights.reshape(16, channels))


@pytest.mark.parametrize(
    "case",
    [
        POINTWISE,
        ConvCase(9, 9, 3, 8, 3, 2, 1),
        ConvCase(8, 18, 32, 32, 3, 2, 1),
        ConvCase(6, 7, 80, 16, groups=2),
        ConvCase(9, 9, 12, 96, 3, 1, 1, groups=6),
    ],
    ids=str,
)
def test_the_template_knows_where_pixels_are(case: ConvCase) -> None:
    template, problem = task_of(case).template(), TileProblem.of(task_of(case).mod["main"])
    assert isinstance(template, ConvAmxTemplate)
    assert template.geometry.pixel_strides == (problem.row_stride, problem.column_stride)
    assert template.geometry.step == problem.step

"""What the cost model sees of convolutions on tiles."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import tvm

from autotune_qnn.engines.relax import TargetSpec, lower
from autotune_qnn.kernels.templates.base import Config
from autotune_qnn.kernels.templates.conv2d_amx import ConvAmxTemplate
from autotune_qnn.kernels.tiles import ALL, ANNOTATION, TileKnobs
from autotune_qnn.tuning.features import NAMES, features
from tests.support.networks import ConvCase

TASK = lower(
    ConvCase(14, 14, 128, 64, 3, 1, 1).module(), TargetSpec.parse("llvm -mcpu=sapphirerapids"), 2
).tasks[0]


def seen(**changes: int) -> dict[str, float]:
    template = TASK.template()
    assert isinstance(template, ConvAmxTemplate)
    knobs = dataclasses.asdict(TileKnobs(2, 2, 0, ALL, 0, 0, 0))
    schedule = tvm.s_tir.Schedule(TASK.mod, debug_mask="none")
    template.apply(schedule, Config.from_mapping({"registers": 0, **knobs, **changes}))
    return dict(zip(NAMES, features(schedule.mod, TASK.macs, 2), strict=True))


def test_a_step_is_a_product_of_two_tiles() -> None:
    found = seen()
    products = 14 * 4 * 9 * 2
    assert found["hot_steps"] == pytest.approx(math.log2(1 + products), abs=0.01)
    assert found["hot_accumulators"] == 4
    assert found["hot_loads_per_step"] == 1
    assert found["leaves"] == 3, "the border's copy, sums, output"
    assert seen(row_tiles=1, channel_tiles=1)["hot_loads_per_step"] == 2


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"row_tiles": 1}, "hot_accumulators"),
        ({"flat": 1}, "hot_lanes"),
        ({"channels_outside": 1}, "hot_working_set_3"),
        ({"taps_inside": 1}, "hot_working_set_1"),
        ({"split": 1, "band": 1}, "parallel_tasks"),
        ({"split": 2}, "parallel_tasks"),
        ({"weave": 1}, "hot_woven"),
    ],
)
def test_knobs_are_told_apart(changes: dict[str, int], name: str) -> None:
    assert seen(**changes)[name] != seen()[name]


@pytest.mark.parametrize("values", [[2, 2], [9, 9, 0, 1, 0, 0, 0]])
def test_an_annotation_that_cannot_be_has_the_features_of_the_loops(values: list[int]) -> None:
    def plain(*annotation: Any) -> tuple[float, ...]:
        schedule = tvm.s_tir.Schedule(TASK.mod, debug_mask="none")
        if annotation:
            schedule.annotate(schedule.get_sblock("conv"), ANNOTATION, *annotation)
        return features(schedule.mod, TASK.macs, 2)

    assert plain(values) == plain()

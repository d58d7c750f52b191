"""Convolutions on AMX's tiles compute the dialect's reference, whatever the knobs; see tests/support/amx.py."""

from __future__ import annotations

import math
import random
from functools import cache
from typing import Any

import numpy as np
import pytest
import tvm

from autotune_qnn.engines.relax import TargetSpec, TuningTask, lower
from autotune_qnn.kernels.templates.base import Config
from autotune_qnn.kernels.templates.conv2d_amx import ConvAmxTemplate
from autotune_qnn.kernels.tiles import TileKnobs, TileProblem
from autotune_qnn.transforms.tir_pipeline import compile_kernel
from tests.differential.kernel_list import OPERATORS
from tests.support.amx import TARGET, tiles
from tests.support.configured import check, compiled, scheduled
from tests.support.kernel_cases import Case, module
from tests.support.networks import ConvCase

CASES = (
    ConvCase(14, 14, 96, 24),
    ConvCase(7, 7, 64, 160),
    ConvCase(8, 8, 144, 33, dtype="int8"),
    ConvCase(5, 9, 160, 16),
    ConvCase(3, 19, 116, 48),
    ConvCase(17, 17, 24, 40, residual=False),
    ConvCase(6, 6, 16, 16, residual=True),
    ConvCase(7, 7, 72, 72, residual=True, dtype="int8"),
    ConvCase(9, 9, 3, 8, 3, 2, 1),
    ConvCase(15, 15, 3, 20, 7, 2, 3),
    ConvCase(7, 7, 64, 48, 3, 1, 1),
    ConvCase(8, 18, 32, 32, 3, 2, 1, dtype="int8"),
    ConvCase(11, 11, 68, 17, 3, 1, 2, dilation=2),
    ConvCase(9, 9, 17, 33, 3, 1, 1),
    ConvCase(14, 14, 96, 24, weight_zero_point=120),
    ConvCase(6, 6, 32, 20, 3, 1, 1, weight_zero_point=130),
    ConvCase(9, 9, 64, 128, 3, 1, 1, groups=4),
    ConvCase(6, 7, 80, 16, groups=2, batch=2),
    ConvCase(5, 7, 64, 12, 3, 1, 1, dtype="int8", batch=2),
    ConvCase(7, 5, 66, 1, batch=3),
    ConvCase(1, 33, 64, 100, 1),
    ConvCase(3, 17, 64, 20, 3, 1, 1),
    ConvCase(3, 5, 64, 16, 3, 1, 1),
    ConvCase(1, 31, 63, 40),
    ConvCase(31, 1, 40, 16, 3, 1, 1),
    ConvCase(2, 1, 8, 16),
)
"""Channels, pixels and outputs that fill tiles and that do not; strides, dilation, groups, borders, zero points;
widths for which more columns of sums are made than the output has; a single group of tiles."""
SAMPLES = 1


@cache
def task_of(case: ConvCase) -> TuningTask:
    return lower(case.module(), TargetSpec.parse(TARGET), 2).tasks[0]


def in_tiles(template: ConvAmxTemplate, rng: random.Random) -> list[Config]:
    """Random configurations with tiles, and one for every way of spreading work over threads."""
    space = template.space()
    valid = [config for config in space.enumerate() if not config["registers"]]
    chosen = rng.sample(valid, min(SAMPLES, len(valid)))
    for split in (0, 1, 2):
        chosen += rng.sample([c for c in valid if c["split"] == split], 1) if split in _splits(valid) else []
    return list(dict.fromkeys(chosen))


def _splits(configs: list[Config]) -> set[int]:
    return {config["split"] for config in configs}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_tiles_compute_the_reference(case: ConvCase) -> None:
    machine, task = tiles(), task_of(case)
    template = task.template()
    assert isinstance(template, ConvAmxTemplate)
    arguments, expected = task.arguments(seed=3)
    default = template.default()
    assert template.space().is_valid(default)
    for config in dict.fromkeys([default, *in_tiles(template, random.Random(str(case)))]):
        tensors = [tvm.runtime.tensor(array) for array in arguments]
        mod = scheduled(task, template, config)
        module = compile_kernel(mod, TargetSpec.parse(TARGET).tvm())
        if machine.emulated:
            before = machine.counts()
            machine.watch(np.from_dlpack(tensors[0]))
        module["main"](*tensors)
        np.testing.assert_array_equal(tensors[-1].numpy(), expected[0], err_msg=str(config))
        if machine.emulated:
            done = {name: count - before[name] for name, count in machine.counts().items()}
            assert machine.outside() == 0, "a tile of data reaches beyond the data"
            check_counts(mod, config, done)


def check_counts(mod: Any, config: Config, done: dict[str, int]) -> None:
    """Each tile of sums is computed once, whatever the order; each task is configured and released once."""
    if config["registers"]:
        assert not any(done.values())
        return
    problem = TileProblem.of(mod["main"])
    knobs = TileKnobs(**{name: config[name] for name in TileKnobs.__slots__})
    sums = problem.layout(knobs).count * problem.groups * problem.blocks
    assert done["tilezero"] == done["tilestored"] == sums
    assert done["tdpbusd"] == sums * math.prod(problem.kernel) * len(problem.steps)
    assert done["ldtilecfg"] == done["tilerelease"] > 0
    assert knobs.split or done["ldtilecfg"] == 1


WITH_WEIGHTS = [case for case in OPERATORS if case.name.split()[0] in ("conv2d", "dense")]


@pytest.mark.parametrize("case", WITH_WEIGHTS, ids=lambda case: case.name)
def test_outputs_of_every_kind_follow_the_sums(case: Case) -> None:
    """Each arithmetic's output, in tiles where the default is register tiles too."""
    tiles()
    rng = random.Random(case.name)
    for task in lower(module(case).mod, TargetSpec.parse(TARGET), 2).tasks:
        template = task.template()
        if not isinstance(template, ConvAmxTemplate):
            continue
        config = rng.choice([config for config in template.space().enumerate() if not config["registers"]])
        library = compiled(task, TargetSpec.parse(TARGET), template, config)
        check(library, *task.arguments(seed=1), f"{task.name} {config}")

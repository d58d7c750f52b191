"""Every configuration of a convolution's template computes the same: the dialect's reference."""

from __future__ import annotations

import random

import pytest

from autotune_qnn.engines.relax import TargetSpec, lower
from tests.support.configured import check, compiled, main_task, runnable, template_of
from tests.support.networks import CONVOLUTIONS, ConvCase

TARGETS = ("llvm -mcpu=cascadelake", "llvm -mcpu=skylake-avx512", "llvm -mcpu=haswell", "llvm -mcpu=x86-64")
SAMPLES = 2


@pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)
@pytest.mark.parametrize("text", TARGETS)
def test_configurations_compute_the_reference(case: ConvCase, text: str) -> None:
    target = runnable(text)
    rng = random.Random(str(case) + text)
    task = main_task(case, target, threads=2)
    template, values = template_of(task), task.arguments(seed=3)
    space = template.space()
    configs = [template.default(), *(space.sample(rng) for _ in range(SAMPLES))]
    assert all(space.is_valid(config) for config in configs)
    for config in configs:
        check(compiled(task, target, template, config), *values, config)


def test_equal_layers_share_one_task_in_every_process() -> None:
    """Layers that differ in weights, bias, scales and zero points only have the same key."""
    target = TargetSpec.parse("llvm -mcpu=cascadelake")
    case = ConvCase(14, 14, 96, 24)
    first, second = (lower(case.module(seed), target, 1).tasks[0] for seed in (0, 1))
    assert first.key == second.key
    assert first.key != lower(ConvCase(14, 14, 96, 32).module(), target, 1).tasks[0].key

"""Every configuration of a convolution's template computes the same: the dialect's reference."""

from __future__ import annotations

import random

import numpy as np
import pytest
import tvm

from autotune_qnn.engines.relax import TargetSpec, TuningTask, lower
from autotune_qnn.transforms.tir_pipeline import compile_kernel
from tests.support.networks import CONVOLUTIONS, ConvCase

TARGETS = ("llvm -mcpu=cascadelake", "llvm -mcpu=skylake-avx512", "llvm -mcpu=haswell", "llvm -mcpu=x86-64")
SAMPLES = 2


def _task(case: ConvCase, target: TargetSpec, threads: int) -> TuningTask:
    tasks = lower(case.module(), target, threads).tasks
    return next(task for task in tasks if task.kind != "plain")


@pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)
@pytest.mark.parametrize("text", TARGETS)
def test_configurations_compute_the_reference(case: ConvCase, text: str) -> None:
    target = TargetSpec.parse(text)
    reason = target.runs_here()
    if reason is not None:
        pytest.skip(reason)
    rng = random.Random(str(case) + text)
    task = _task(case, target, threads=2)
    template = task.template()
    assert template is not None
    arguments, expected = task.arguments(seed=3)
    space = template.space()
    configs = [template.default(), *(space.sample(rng) for _ in range(SAMPLES))]
    assert all(space.is_valid(config) for config in configs)
    for config in configs:
        schedule = tvm.s_tir.Schedule(task.mod, debug_mask="none")
        template.apply(schedule, config)
        tensors = [tvm.runtime.tensor(array) for array in arguments]
        compile_kernel(schedule.mod, target.tvm())["main"](*tensors)
        np.testing.assert_array_equal(tensors[-1].numpy(), expected[0], err_msg=str(config))


def test_equal_layers_share_one_task_in_every_process() -> None:
    """Layers that differ in weights, bias, scales and zero points only have the same key."""
    target = TargetSpec.parse("llvm -mcpu=cascadelake")
    case = ConvCase(14, 14, 96, 24)
    first, second = (lower(case.module(seed), target, 1).tasks[0] for seed in (0, 1))
    assert first.key == second.key
    assert first.key != lower(ConvCase(14, 14, 96, 32).module(), target, 1).tasks[0].key

"""Convolutions fetch the weights of the channels that come next."""

from __future__ import annotations

import numpy as np
import pytest
import tvm

from autotune_qnn.engines.relax import TargetSpec, lower
from autotune_qnn.transforms.tir_pipeline import compile_kernel
from tests.support.networks import ConvCase


@pytest.mark.parametrize(("outputs", "blocks", "fetches"), [(64, 2, True), (64, 4, False)])
@pytest.mark.parametrize("text", ["llvm -mcpu=cascadelake", "llvm -mcpu=skylake-avx512"])
def test_weights_are_fetched_ahead(text: str, outputs: int, blocks: int, fetches: bool) -> None:
    target = TargetSpec.parse(text)
    task = lower(ConvCase(14, 14, 128, outputs, 3, 2, 1).module(), target, 2).tasks[0]
    template = task.template()
    assert template is not None
    columns = 7 if blocks == 2 else 1
    config = template.default().replace(rows=1, columns=columns, blocks=blocks, quads=2, unroll_kernel=0)
    schedule = tvm.s_tir.Schedule(task.mod)
    template.apply(schedule, config)
    library = compile_kernel(schedule.mod, target.tvm())
    source = library.inspect_source("ll")
    calls = [line for line in source.splitlines() if "call void @llvm.prefetch" in line]
    assert any("i32 2, i32 1)" in line for line in calls) == fetches, "reads into the second-level cache"
    if target.runs_here() is None:
        arguments, expected = task.arguments(seed=1)
        tensors = [tvm.runtime.tensor(array) for array in arguments]
        library["main"](*tensors)
        np.testing.assert_array_equal(tensors[-1].numpy(), expected[0])

"""Products of neighbouring steps are added to each other before they reach the sum."""

from __future__ import annotations

import numpy as np
import pytest
import tvm

from autotune_qnn.engines.relax import TargetSpec, lower
from autotune_qnn.transforms.tir_pipeline import compile_kernel
from tests.support.networks import ConvCase


@pytest.mark.parametrize("text", ["llvm -mcpu=skylake-avx512", "llvm -mcpu=haswell"])
@pytest.mark.parametrize("steps", [1, 3, 6])
def test_products_are_added_in_pairs(text: str, steps: int) -> None:
    target = TargetSpec.parse(text)
    task = lower(ConvCase(7, 7, 24, 16).module(), target, 1).tasks[0]
    template = task.template()
    assert template is not None
    config = template.default().replace(rows=1, columns=1, blocks=1, quads=steps)
    schedule = tvm.s_tir.Schedule(task.mod)
    template.apply(schedule, config)
    library = compile_kernel(schedule.mod, target.tvm())
    assert ("llvm.arithmetic.fence" in library.inspect_source("ll")) == (steps > 1)
    if target.runs_here() is None:
        arguments, expected = task.arguments(seed=1)
        tensors = [tvm.runtime.tensor(array) for array in arguments]
        library["main"](*tensors)
        np.testing.assert_array_equal(tensors[-1].numpy(), expected[0])

"""Results are saturated to bytes four vectors at a time, whether they lie together in memory or not."""

from __future__ import annotations

import numpy as np
import pytest
import tvm

from autotune_qnn.engines.relax import TargetSpec, lower
from autotune_qnn.transforms.tir_pipeline import compile_kernel
from tests.support.networks import ConvCase


@pytest.mark.parametrize(("columns", "blocks"), [(1, 4), (7, 4), (7, 2), (7, 1), (1, 1)])
@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_four_vectors_are_packed_together(dtype: str, columns: int, blocks: int) -> None:
    target = TargetSpec.parse("llvm -mcpu=cascadelake")
    task = lower(ConvCase(7, 7, 64, 64, dtype=dtype, residual=True).module(), target, 1).tasks[0]
    template = task.template()
    assert template is not None
    config = template.default().replace(rows=1, columns=columns, blocks=blocks)
    schedule = tvm.s_tir.Schedule(task.mod)
    template.apply(schedule, config)
    library = compile_kernel(schedule.mod, target.tvm())
    assert ("packssdw.512" in library.inspect_source("ll")) == (columns * blocks >= 4)
    if target.runs_here() is None:
        arguments, expected = task.arguments(seed=1)
        tensors = [tvm.runtime.tensor(array) for array in arguments]
        library["main"](*tensors)
        np.testing.assert_array_equal(tensors[-1].numpy(), expected[0])

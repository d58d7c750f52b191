"""Arithmetic modulo 2³² in vectors and alone."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from tvm import te

from autotune_qnn.engines.relax import TargetSpec
from autotune_qnn.kernels.wrapping import minus, plus, times
from autotune_qnn.transforms.tir_pipeline import compile_kernel

EXTREMES = np.array([0, 1, -1, 2**31 - 1, -(2**31), 2**30, -(2**30), 954437177], np.int64)


@pytest.mark.parametrize("vector", [True, False])
@pytest.mark.parametrize(
    ("operation", "expected"), [(plus, np.add), (minus, np.subtract), (times, np.multiply)]
)
def test_values_wrap_around(operation: object, expected: np.ufunc, vector: bool) -> None:
    first, second = (te.placeholder((64,), "int32", name=name) for name in "ab")
    assert callable(operation)
    result = te.compute((64,), lambda i: operation(first(i), second(i)) >> 3, name="result")
    schedule = tvm.s_tir.Schedule(te.create_prim_func([first, second, result]))
    loops = schedule.get_loops(schedule.get_sblock("result"))
    if vector:
        schedule.vectorize(schedule.split(loops[0], [None, 16])[1])
    library = compile_kernel(schedule.mod, TargetSpec.parse("llvm -mcpu=x86-64").tvm())
    a, b = (value.reshape(-1) for value in np.meshgrid(EXTREMES, EXTREMES))
    tensors = [tvm.runtime.tensor(value.astype(np.int32)) for value in (a, b, np.zeros(64))]
    library["main"](*tensors)
    np.testing.assert_array_equal(tensors[-1].numpy(), expected(a, b).astype(np.int32) >> 3)

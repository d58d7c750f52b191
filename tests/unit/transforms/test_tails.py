"""Ends of rows that do not fill a vector."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tvm
from tvm import te

from autotune_qnn.engines.relax import TargetSpec, lower
from autotune_qnn.kernels.anchors.overlap import store_within
from autotune_qnn.transforms.tir_pipeline import compile_kernel
from tests.differential.kernel_list import OPERATORS
from tests.support.configured import check, runnable, with_knobs
from tests.support.kernel_cases import module

ADDITION = next(case for case in OPERATORS if case.name == "add int32")
NATIVE = TargetSpec.parse("native")


@pytest.mark.parametrize("elements", [1, 15, 16, 17, 25, 28, 31, 63])
@pytest.mark.parametrize("lanes", [8, 16, 32])
def test_every_element_is_computed_once(elements: int, lanes: int) -> None:
    data = te.placeholder((elements,), "int8", name="data")
    result = te.compute(
        (elements,), lambda i: (data(i).astype("int32") * 3 >> 1).astype("int8"), name="result"
    )
    schedule = tvm.s_tir.Schedule(te.create_prim_func([data, result]))
    outer, lane = schedule.split(*schedule.get_loops(schedule.get_sblock("result")), [None, lanes])
    schedule.annotate(outer, "pragma_loop_partition_hint", 1)
    schedule.vectorize(lane)
    library = compile_kernel(schedule.mod, NATIVE.tvm())
    values = np.arange(-elements, elements, 2).astype(np.int8)
    expected = (values.astype(np.int32) * 3 >> 1).astype(np.int8)
    check(library, [values, np.zeros_like(values)], [expected])


@pytest.mark.parametrize("text", ["native", "llvm -mcpu=cascadelake"])
def test_nothing_is_stored_behind_the_end(text: str) -> None:
    target = runnable(text)
    tasks = lower(module(ADDITION).mod, target, 1).tasks
    task = next(task for task in tasks if task.mod["main"].params[-1].shape[-1] == 17)
    arguments, (expected,) = task.arguments(0)
    wide = replace(task, mod=tvm.IRModule({"main": store_within(task.mod["main"], 20, 2)}))
    whole = np.full((*expected.shape[:-1], 20), 7, expected.dtype)
    stored = whole.copy()
    stored[..., 2:19] = expected
    check(with_knobs(wide, target), [*arguments[:-1], whole], [stored])

"""Frames of kernels are aligned to vectors, so that spilled registers are."""

from __future__ import annotations

import re

import pytest
import tvm

from autotune_qnn.engines.relax import TargetSpec, lower
from autotune_qnn.transforms.tir_pipeline import compile_kernel
from tests.support.networks import ConvCase


@pytest.mark.parametrize("parallel", [0, 1])
def test_spills_are_aligned(parallel: int) -> None:
    target = TargetSpec.parse("llvm -mcpu=cascadelake")
    task = lower(ConvCase(14, 14, 64, 64, 3, 1, 1, groups=64).module(), target, 2).tasks[0]
    template = task.template()
    assert template is not None
    schedule = tvm.s_tir.Schedule(task.mod)
    template.apply(schedule, template.default().replace(columns=2, parallel=parallel))
    assembly = compile_kernel(schedule.mod, target.tvm()).inspect_source("asm")
    spilled = re.findall(r"(vmov\w+)\s+%zmm\d+, -?\d*\(%rsp\)", assembly)
    assert spilled, "this kernel has more values than registers"
    assert all(name in ("vmovaps", "vmovapd", "vmovdqa32", "vmovdqa64") for name in spilled)

"""Frames of kernels are aligned to vectors, so that spilled registers are."""

from __future__ import annotations

import re

import pytest

from autotune_qnn.engines.relax import TargetSpec, lower
from tests.support.configured import with_knobs
from tests.support.networks import ConvCase


@pytest.mark.parametrize("parallel", [0, 1])
def test_spills_are_aligned(parallel: int) -> None:
    target = TargetSpec.parse("llvm -mcpu=cascadelake")
    task = lower(ConvCase(14, 14, 64, 64, 3, 1, 1, groups=64).module(), target, 2).tasks[0]
    assembly = with_knobs(task, target, columns=2, parallel=parallel).inspect_source("asm")
    spilled = re.findall(r"(vmov\w+)\s+%zmm\d+, -?\d*\(%rsp\)", assembly)
    assert spilled, "this kernel has more values than registers"
    assert all(name in ("vmovaps", "vmovapd", "vmovdqa32", "vmovdqa64") for name in spilled)

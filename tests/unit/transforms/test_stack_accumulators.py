"""Accumulators larger than TVM's own limit stay on the stack."""

from __future__ import annotations

import tvm

from autotune_qnn.engines.relax import TargetSpec, lower
from autotune_qnn.transforms.tir_pipeline import compile_kernel
from tests.support.configured import scheduled, template_of
from tests.support.networks import ConvCase


def test_a_tile_of_accumulators_needs_no_workspace() -> None:
    target = TargetSpec.parse("llvm -mcpu=cascadelake")
    task = lower(ConvCase(14, 14, 64, 64).module(), target, 1).tasks[0]
    template = template_of(task)
    mod = scheduled(task, template, template.default().replace(columns=14, blocks=2))
    assert not _workspace_calls(compile_kernel(mod, target.tvm()).inspect_source("ll"))
    assert _workspace_calls(tvm.compile(mod, target.tvm()).mod.inspect_source("ll"))


def _workspace_calls(source: str) -> list[str]:
    return [line for line in source.splitlines() if "AllocWorkspace" in line and "load" in line]

"""Convolutions fetch the weights of the channels that come next."""

from __future__ import annotations

import pytest

from autotune_qnn.engines.relax import TargetSpec, lower
from tests.support.configured import check, with_knobs
from tests.support.networks import ConvCase


@pytest.mark.parametrize(("outputs", "blocks", "fetches"), [(64, 2, True), (64, 4, False)])
@pytest.mark.parametrize("text", ["llvm -mcpu=cascadelake", "llvm -mcpu=skylake-avx512"])
def test_weights_are_fetched_ahead(text: str, outputs: int, blocks: int, fetches: bool) -> None:
    target = TargetSpec.parse(text)
    task = lower(ConvCase(14, 14, 128, outputs, 3, 2, 1).module(), target, 2).tasks[0]
    columns = 7 if blocks == 2 else 1
    library = with_knobs(task, target, rows=1, columns=columns, blocks=blocks, quads=2, unroll_kernel=0)
    source = library.inspect_source("ll")
    calls = [line for line in source.splitlines() if "call void @llvm.prefetch" in line]
    assert any("i32 2, i32 1)" in line for line in calls) == fetches, "reads into the second-level cache"
    if target.runs_here() is None:
        check(library, *task.arguments(seed=1))

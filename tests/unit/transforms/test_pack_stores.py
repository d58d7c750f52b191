"""Results are saturated to bytes four vectors at a time, whether they lie together in memory or not."""

from __future__ import annotations

import pytest

from autotune_qnn.engines.relax import TargetSpec, lower
from tests.support.configured import check, with_knobs
from tests.support.networks import ConvCase


@pytest.mark.parametrize(("columns", "blocks"), [(1, 4), (7, 4), (7, 2), (7, 1), (1, 1)])
@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_four_vectors_are_packed_together(dtype: str, columns: int, blocks: int) -> None:
    target = TargetSpec.parse("llvm -mcpu=cascadelake")
    task = lower(ConvCase(7, 7, 64, 64, dtype=dtype, residual=True).module(), target, 1).tasks[0]
    library = with_knobs(task, target, rows=1, columns=columns, blocks=blocks)
    assert ("packssdw.512" in library.inspect_source("ll")) == (columns * blocks >= 4)
    if target.runs_here() is None:
        check(library, *task.arguments(seed=1))

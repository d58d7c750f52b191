"""Products of neighbouring steps are added to each other before they reach the sum."""

from __future__ import annotations

import pytest

from autotune_qnn.engines.relax import TargetSpec, lower
from tests.support.configured import check, with_knobs
from tests.support.networks import ConvCase


@pytest.mark.parametrize("text", ["llvm -mcpu=skylake-avx512", "llvm -mcpu=haswell"])
@pytest.mark.parametrize("steps", [1, 3, 6])
def test_products_are_added_in_pairs(text: str, steps: int) -> None:
    target = TargetSpec.parse(text)
    task = lower(ConvCase(7, 7, 24, 16).module(), target, 1).tasks[0]
    library = with_knobs(task, target, rows=1, columns=1, blocks=1, quads=steps)
    assert ("llvm.arithmetic.fence" in library.inspect_source("ll")) == (steps > 1)
    if target.runs_here() is None:
        check(library, *task.arguments(seed=1))

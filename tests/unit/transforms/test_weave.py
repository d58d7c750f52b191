"""Outputs of one register tile are computed between the multiplications of the next."""

from __future__ import annotations

from typing import Any

import pytest

from autotune_qnn.engines.relax import TargetSpec, TuningTask, lower
from tests.support.configured import check, runnable, with_knobs
from tests.support.kernel_cases import BUILTIN_FLAT, case, module
from tests.support.networks import ConvCase

TARGET = TargetSpec.parse("llvm -mcpu=cascadelake")


def _check(task: TuningTask, library: Any) -> None:
    """Where this CPU can run the kernel, it gives what the reference gives."""
    runnable(TARGET.canonical)
    check(library, *task.arguments(seed=1))


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(ConvCase(8, 12, 64, 64, residual=True), id="residual"),
        pytest.param(ConvCase(8, 12, 64, 96, batch=3), id="batch"),
        pytest.param(ConvCase(8, 12, 40, 122, stride=2, dtype="int8"), id="strided"),
        pytest.param(ConvCase(8, 12, 32, 64, weight_zero_point=7), id="zero point"),
    ],
)
@pytest.mark.parametrize(
    "tile",
    [
        {"rows": 4, "columns": 1, "blocks": 2, "quads": 2, "fetch": 0},
        {"rows": 2, "columns": 3, "blocks": 1, "quads": 2},
        {"rows": 4, "columns": 6, "blocks": 1, "quads": 1},
    ],
    ids=lambda tile: "x".join(map(str, tile.values())),
)
def test_woven_tiles_compute_the_same(case: ConvCase, tile: dict[str, int]) -> None:
    task = lower(case.module(), TARGET, 1).tasks[0]
    library = with_knobs(task, TARGET, **tile, weave=1)
    _check(task, library)


def test_the_last_tile_is_finished_behind_the_loop() -> None:
    task = lower(ConvCase(8, 8, 64, 64).module(), TARGET, 1).tasks[0]
    tile = {"rows": 1, "columns": 4, "blocks": 2, "quads": 16, "fetch": 0}
    woven, plain = (with_knobs(task, TARGET, **tile, weave=weave).inspect_source("ll") for weave in (1, 0))
    rounding = "call <16 x i32> @llvm.lrint"
    assert woven.count(rounding) == 2 * plain.count(rounding) > 0


def test_tiles_share_the_fetches() -> None:
    task = lower(ConvCase(8, 8, 64, 64).module(), TARGET, 1).tasks[0]
    source = with_knobs(task, TARGET, rows=1, columns=4, blocks=1, fetch=1, weave=0).inspect_source("ll")
    assert 0 < source.count("call void @llvm.prefetch") < 16  # lines of weights, as many as tiles


def test_outputs_that_depend_on_their_place() -> None:
    """The last elements of a tensor are rounded otherwise: what is stored knows where."""
    flat = case(
        "flat tail", lambda b, x: b.rescaled(b.convolved(x, 33, (1, 1)), BUILTIN_FLAT, 31), (1, 1, 24, 31)
    )
    task = next(task for task in lower(module(flat).mod, TARGET, 1).tasks if task.kind == "conv2d")
    library = with_knobs(task, TARGET, weave=1)
    _check(task, library)

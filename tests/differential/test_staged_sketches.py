"""Sketches of kernels with several blocks before and behind their sum compute the dialect's reference."""

from __future__ import annotations

import random

import pytest

from autotune_qnn.engines.relax import TargetSpec
from autotune_qnn.kernels.isa import Isa
from autotune_qnn.tuning.strategies.sketch import tiled_sketch
from autotune_qnn.tuning.strategies.sketch_stage_structure import stages_of
from autotune_qnn.tuning.strategies.sketch_stages import StagedSketch
from tests.support.configured import check, compiled, main_task, runnable
from tests.support.networks import ConvCase

TARGETS = ("llvm -mcpu=cascadelake", "llvm -mcpu=skylake-avx512", "llvm -mcpu=haswell")
CASES = (
    ConvCase(8, 12, 32, 48, 3, 1, 1, residual=False),
    ConvCase(14, 14, 64, 64, 3, 1, 1, residual=True),
    ConvCase(10, 11, 32, 32, 3, 1, 0, weight_zero_point=131),
)


@pytest.mark.parametrize("text", TARGETS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_sketches_compute_the_reference(case: ConvCase, text: str, stored: bool) -> None:
    target = runnable(text)
    threads = 2 if stored else 1
    task = main_task(case, target, threads)
    sketch = tiled_sketch(task, target.isa, threads)
    assert isinstance(sketch, StagedSketch)
    space, rng = sketch.space(), random.Random(str(case) + text)
    values = task.arguments(seed=3)
    for config in (sketch.default(), space.sample(rng)):
        assert space.is_valid(config)
        check(compiled(task, target, sketch, config), *values, config)


def test_structure(stored: bool) -> None:
    task = main_task(ConvCase(8, 12, 32, 48, 3, 1, 1), TargetSpec.parse("llvm -mcpu=cascadelake"), 1)
    stages = stages_of(task.mod, Isa.AVX512_VNNI)
    assert stages is not None
    assert (stages.anchor, stages.chain) == ("products", ("columns", "sums", "output"))
    assert stages.leads == (0, None, None, 1, 2, 5)
    assert (stages.whole, stages.shared) == ((1, 2), (0, 1, 2, 5))
    assert (stages.dot, stages.lanes, stages.tail) == ("aq_words_16x2_vnni", 16, 1)
    data, *weights = stages.prepared
    assert (data.blocks, data.mixing, data.channels) == (("points", "rows", "data_pad"), (1, 2), False)
    assert [(one.blocks, one.mixing, one.channels) for one in weights] == (
        [] if stored else [(("kernel", "kernel_rows"), (0, 1), True)]
    )


def test_other_kernels_have_none() -> None:
    """A convolution summed directly is one sum; without an instruction there is nothing to tile around."""
    plain = main_task(ConvCase(14, 14, 96, 24), TargetSpec.parse("llvm -mcpu=cascadelake"), 1)
    assert not isinstance(tiled_sketch(plain, Isa.AVX512_VNNI, 1), StagedSketch)
    assert stages_of(plain.mod, Isa.GENERIC) is None

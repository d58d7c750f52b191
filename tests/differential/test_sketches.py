"""Generated sketches of every family compute the dialect's reference, with the instructions that they are made for."""

from __future__ import annotations

import random
import re

import pytest

from autotune_qnn.engines.relax import TargetSpec, TuningTask
from autotune_qnn.tuning.replay import new_schedule
from autotune_qnn.tuning.strategies.sketch import tiled_sketch
from autotune_qnn.tuning.strategies.sketch_tiling import TiledSketch
from tests.support.configured import check, compiled, main_task, runnable
from tests.support.networks import CONVOLUTIONS, ConvCase

VNNI, AVX512, AVX2, PLAIN = (
    "llvm -mcpu=cascadelake",
    "llvm -mcpu=skylake-avx512",
    "llvm -mcpu=haswell",
    "llvm -mcpu=x86-64",
)
EXPAND = ConvCase(14, 14, 96, 64)
DEPTHWISE = ConvCase(14, 14, 64, 64, 3, 2, 1, groups=64)
FAMILIES = (
    EXPAND,
    DEPTHWISE,
    ConvCase(9, 12, 144, 144, 3, 1, 1, groups=144, dtype="int8"),
    ConvCase(15, 15, 3, 20, 3, 2, 1),
    ConvCase(14, 14, 40, 40, 5, 2, 2, groups=40),
    ConvCase(9, 9, 32, 64, 3, 1, 1, groups=4),
    ConvCase(1, 1, 64, 100),
)
_SPILL = re.compile(r"vmov\w+\s+%zmm\d+, -?\d*\(%r[sb]p")


def _sketch(case: ConvCase, text: str, threads: int = 1) -> tuple[TuningTask, TargetSpec, TiledSketch]:
    target = TargetSpec.parse(text)
    task = main_task(case, target, threads)
    sketch = tiled_sketch(task, target.isa, threads)
    assert isinstance(sketch, TiledSketch)
    return task, target, sketch


@pytest.mark.parametrize(
    ("case", "text"),
    [
        *((case, VNNI) for case in CONVOLUTIONS),
        *((case, text) for case in FAMILIES for text in (AVX512, AVX2, PLAIN)),
    ],
    ids=str,
)
def test_sketches_compute_the_reference(case: ConvCase, text: str) -> None:
    runnable(text)
    task, target, sketch = _sketch(case, text, threads=2)
    space, values = sketch.space(), task.arguments(seed=3)
    assert space.is_valid(sketch.default())
    for config in (sketch.default(), space.sample(random.Random(str(case) + text))):
        check(compiled(task, target, sketch, config), *values, config)


def _assembly(task: TuningTask, target: TargetSpec, sketch: TiledSketch, **changes: int) -> str:
    return str(compiled(task, target, sketch, sketch.default().replace(**changes)).inspect_source("asm"))


@pytest.mark.parametrize(
    ("case", "text", "instruction"),
    [
        (EXPAND, VNNI, r"vpdpbusd.*zmm"),
        (DEPTHWISE, VNNI, r"vpdpbusd.*zmm"),
        (DEPTHWISE, AVX512, r"vpmaddwd.*zmm"),
        (DEPTHWISE, AVX2, r"vpmaddwd.*ymm"),
        (EXPAND, AVX512, r"vpmaddwd.*zmm"),
        (EXPAND, AVX2, r"vpmaddwd.*ymm"),
        (EXPAND, "llvm -mcpu=alderlake", r"vpdpbusd.*ymm"),
    ],
)
def test_the_instruction_is_in_the_code(case: ConvCase, text: str, instruction: str) -> None:
    assert re.search(instruction, _assembly(*_sketch(case, text)))


def _spills(assembly: str) -> bool:
    """Whether vectors go to the stack where products are summed; behind the sums they may."""
    blocks = re.split(r"^\.LBB\w+:", assembly, flags=re.MULTILINE)
    return any(_SPILL.search(block) is not None for block in blocks if "vpdpbusd" in block)


def test_a_tile_that_spills_is_no_candidate() -> None:
    task, target, sketch = _sketch(EXPAND, VNNI)
    largest, spilling = {"tile1": 1, "tile2": 7, "tile3": 2}, {"tile1": 2, "tile2": 7, "tile3": 4}
    space = sketch.space()
    assert space.is_valid(sketch.default().replace(**largest))
    assert not _spills(_assembly(task, target, sketch, **largest, step2=1))
    assert not space.is_valid(sketch.default().replace(**spilling))
    assert _spills(_assembly(task, target, sketch, **spilling, step2=1))


def test_the_whole_register_file_is_used_without_spilling() -> None:
    """28 sums, two vectors of weights and one of data."""
    task, target, sketch = _sketch(EXPAND, VNNI)
    tile = {"tile1": 1, "tile2": 14, "tile3": 2}
    assert sketch.registers(tile) == 31
    assert not _spills(_assembly(task, target, sketch, **tile, step2=1))


def test_what_is_copied_is_copied_outside_of_what_reads_it() -> None:
    _, _, sketch = _sketch(DEPTHWISE, VNNI)
    assert sketch.structure.staged == ("quads", "data_pad")
    space, rng = sketch.space(), random.Random(0)
    for _ in range(20):
        config = space.sample(rng)
        assert config["copy1"] <= config["copy0"]


def test_what_the_windows_sums_read_too_is_copied_before_them() -> None:
    """Weights whose zero point does not fit need the sum of each window's data, from the same copy."""
    task, _, sketch = _sketch(ConvCase(9, 9, 24, 32, 3, 1, 1, weight_zero_point=131), VNNI)
    assert sketch.structure.apart == ("window_sum",)
    space, rng = sketch.space(), random.Random(0)
    for _ in range(10):
        config = space.sample(rng)
        assert config["copy0"] == 0
        sketch.apply(new_schedule(task.mod), config)


def test_the_default_asks_ahead_only_for_weights_that_pass_again() -> None:
    """A row of data has read all weights once before any of them could be used again."""
    _, _, vector = _sketch(ConvCase(1, 1, 64, 4032), VNNI)
    assert vector.default()["fetch"] == 0
    assert vector.default()["tile3"] <= 8
    _, _, image = _sketch(EXPAND, VNNI)
    assert image.default()["fetch"] == 1


def test_mutations_stay_applicable() -> None:
    task, _, sketch = _sketch(ConvCase(15, 15, 3, 20, 3, 2, 1), VNNI)
    space, rng = sketch.space(), random.Random(0)
    config = sketch.default()
    for _ in range(10):
        config = space.mutate(config, rng)
        assert space.is_valid(config)
        sketch.apply(new_schedule(task.mod), config)

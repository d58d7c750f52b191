"""Winograd's convolution in integers computes the reference to the bit, however far its sums wrap around."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tvm import relax

from autotune_qnn import dialect
from autotune_qnn.engines.relax import TargetSpec, TuningTask, lower
from tests.support.configured import check, compiled, runnable, template_of, with_knobs
from tests.support.networks import ConvCase

TARGETS = ("llvm -mcpu=cascadelake", "llvm -mcpu=skylake-avx512", "llvm -mcpu=haswell")
CASES = (
    ConvCase(8, 12, 32, 48, 3, 1, 1),
    ConvCase(7, 10, 48, 32, 3, 1, 1, dtype="int8"),
    ConvCase(9, 6, 16, 16, 3, 1, 1, residual=True, batch=2),
    ConvCase(10, 11, 32, 16, 3, 1, 0, weight_zero_point=131),
    ConvCase(6, 9, 32, 32, 3, 1, 2, weight_zero_point=255, residual=False),
)


def _check(task: TuningTask, target: TargetSpec, samples: int) -> None:
    template, values = template_of(task), task.arguments(seed=7)
    assert template.name == "winograd"
    space, rng = template.space(), random.Random(task.name)
    for config in [template.default(), *(space.sample(rng) for _ in range(samples))]:
        assert space.is_valid(config)
        check(compiled(task, target, template, config), *values, config)


@pytest.mark.parametrize("text", TARGETS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_configurations_compute_the_reference(case: ConvCase, text: str, stored: bool) -> None:
    target = runnable(text)
    _check(lower(case.module(), target, 2 if stored else 1).tasks[0], target, samples=2)


def _module(weights: NDArray[np.int8], zero_point: int) -> Any:
    """A convolution whose int32 sums are its output."""
    builder = relax.BlockBuilder()
    outputs, _, _, channels = weights.shape
    data = relax.Var("data", relax.TensorType((1, 8, 8, channels), "uint8"))
    parameters = [dialect.constant(value, "int32") for value in (zero_point, 0)]
    scales = [dialect.constant(value, "float32") for value in (0.02, 0.01)]
    with builder.function("main", [data]):
        with builder.dataflow():
            product = dialect.conv2d(
                data,
                dialect.constant(weights),
                *parameters,
                *scales,
                kernel_size=(3, 3),
                channels=outputs,
                strides=(1, 1),
                padding=(1, 1, 1, 1),
            )
            output = builder.emit_output(builder.emit(product))
        builder.emit_func_output(output)
    return builder.get()


PATTERNS: dict[str, Callable[[tuple[int, ...]], NDArray[np.int64]]] = {
    "largest": lambda shape: np.full(shape, 127),
    "smallest": lambda shape: np.full(shape, -128),
    "halves": lambda shape: np.where(np.arange(shape[-1]) % 2, 127, -128) * np.ones(shape, np.int64),
    "corners": lambda shape: np.indices(shape)[1:3].sum(0) % 2 * 255 - 128,
}


@pytest.mark.parametrize("zero_point", [0, 255])
@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("stored", [True], indirect=True, ids=["stored"])
def test_sums_that_wrap_around(pattern: str, zero_point: int, stored: bool) -> None:
    """Weights at the ends of their range; the sums of 208 channels span nearly all that can be told apart."""
    assert stored
    target = runnable("llvm -mcpu=cascadelake")
    weights = PATTERNS[pattern]((16, 3, 3, 208)).astype(np.int8)
    task = lower(_module(weights, zero_point), target, 1).tasks[0]
    assert template_of(task).name == "winograd"
    library = with_knobs(task, target)
    arguments, _ = task.arguments(seed=0)
    for fill in (0, 255, None):
        if fill is None:
            arguments[0] = (np.indices(arguments[0].shape)[1:3].sum(0) % 2 * 255).astype(np.uint8)
        else:
            arguments[0] = np.full_like(arguments[0], fill)
        check(library, arguments, [_expected(arguments[0], weights, zero_point)])


def _expected(data: NDArray[np.uint8], weights: NDArray[np.int8], zero_point: int) -> NDArray[np.int32]:
    padded = np.pad(data.astype(np.int64) - zero_point, ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))
    return np.einsum("nyxcij,oijc->nyxo", windows, weights.astype(np.int64)).astype(np.int32)

"""Kernels of PyTorch's quantized operators against PyTorch: every element, with and without AVX-512."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tvm
from tvm import relax

pytest.importorskip("torch", reason="PyTorch is not installed: scripts/setup pytorch")

from autotune_qnn import dialect
from autotune_qnn.dialect import constant, reference
from autotune_qnn.dialect.engine import StageEngine
from autotune_qnn.engines.relax import TargetSpec, apply_best, compile_module, lower
from tests.support.configured import check, compiled, runnable
from tests.support.dialect import module, zero
from tests.support.pytorch_cases import FAMILIES
from tests.support.pytorch_stage_cases import KINDS, stages
from tests.support.pytorch_tensors import OperatorCase, quantized_engine, real

TARGETS = ("llvm -mcpu=cascadelake", "llvm -mcpu=x86-64")
WITH_QNNPACK = ("binary", "unary", "pooling")


def _run(mod: Any, text: str, inputs: tuple[np.ndarray[Any, Any], ...]) -> np.ndarray[Any, Any]:
    target = TargetSpec.parse(text)
    scheduled, coverage = apply_best(lower(mod, target, threads=1))
    assert coverage.missing == 0
    machine = relax.VirtualMachine(compile_module(scheduled, target), tvm.cpu())
    return np.asarray(machine["main"](*map(tvm.runtime.tensor, inputs)).numpy())


def _module(build: Callable[..., Any], inputs: tuple[np.ndarray[Any, Any], ...]) -> Any:
    return module(build, *((array.shape, str(array.dtype)) for array in inputs))


def _check(case: OperatorCase, text: str) -> None:
    found = _run(_module(case.build, case.inputs), text, case.inputs)
    np.testing.assert_array_equal(found, case.expected, case.name, strict=True)


@pytest.mark.parametrize("text", TARGETS)
@pytest.mark.parametrize(
    ("family", "engine"),
    [*((family, "x86") for family in FAMILIES), *((family, "qnnpack") for family in WITH_QNNPACK)],
)
def test_kernel_equals_pytorch(family: str, engine: str, text: str) -> None:
    runnable(text)
    for dtype, order, ties in (("uint8", "NHWC", True), ("int8", "NCHW", False), ("int8", "NHWC", True)):
        if engine == "qnnpack" and dtype == "int8":
            continue
        rng = np.random.default_rng([order == "NHWC", ties, *family.encode()])
        with quantized_engine(engine):
            for case in FAMILIES[family](rng, engine, dtype, order, ties):
                _check(case, text)


@pytest.mark.parametrize("text", TARGETS)
@pytest.mark.parametrize("engine", ["fbgemm", "onednn", "qnnpack"])
@pytest.mark.parametrize("kind", KINDS)
def test_layer_equals_pytorch(kind: str, engine: str, text: str) -> None:
    runnable(text)
    rng = np.random.default_rng([7, *kind.encode()])
    with quantized_engine(engine):
        for case in stages(rng, engine, kind, ties=True):
            _check(case, text)


@pytest.mark.parametrize("text", TARGETS)
@pytest.mark.parametrize("channels", [1, 37], ids=["per_tensor", "per_channel"])
@pytest.mark.parametrize("engine", [engine.value for engine in StageEngine])
def test_output_stage_equals_reference(engine: str, channels: int, text: str) -> None:
    """Accumulators around the output's range, in steps of a quarter of the output's: every fourth is a tie."""
    runnable(text)
    rng = np.random.default_rng(11)
    si, sw, so = 0.0371, 0.00317, 0.0371 * 0.00317 * 8
    scales = sw * 2.0 ** rng.integers(0, 2, channels)
    bias = (rng.integers(-900, 900, 37) * 0.5 * si * sw).astype(np.float32)
    accumulators = rng.integers(-3000, 3000, (2, 5, 7, 37)).astype(np.int32)

    def build(x: Any) -> Any:
        parameters = (
            constant(bias),
            real(si),
            real(scales if channels > 1 else scales[0]),
            real(so),
            zero(71),
        )
        return relax.op.clip(dialect.output_stage(x, *parameters, engine=engine), 71, 255)

    mod = _module(build, (accumulators,))
    (expected,) = reference.run(mod, [accumulators])
    np.testing.assert_array_equal(_run(mod, text, (accumulators,)), expected, strict=True)


@pytest.mark.parametrize("parallel", [0, 1])
def test_sums_are_the_same_on_threads(parallel: int) -> None:
    target = runnable("llvm -mcpu=cascadelake")
    found = 0
    with quantized_engine("x86"):
        for case in FAMILIES["pooling"](np.random.default_rng(3), "x86", "uint8", "NHWC", True):
            for task in lower(_module(case.build, case.inputs), target, 2).tasks:
                template = task.template()
                if template is None or template.name != "sums":
                    continue
                config = template.default().replace(parallel=parallel)
                if not template.space().is_valid(config):
                    continue
                check(compiled(task, target, template, config), *task.arguments(seed=1))
                found += 1
    assert found

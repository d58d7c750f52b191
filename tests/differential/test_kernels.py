"""Every kernel with its default schedule equals the dialect's NumPy reference, element by element."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import tvm
from tvm import relax

from autotune_qnn.dialect import reference
from autotune_qnn.engines.relax import apply_best, compile_module, lower
from tests.differential.kernel_list import LARGE, OPERATORS
from tests.differential.plain_list import CHAINS, FLOAT, PLAIN
from tests.support.configured import runnable
from tests.support.kernel_cases import Case, CaseModule, module

TARGETS = ("llvm -mcpu=cascadelake", "llvm -mcpu=x86-64")
OTHER_ISAS = ("llvm -mcpu=skylake-avx512", "llvm -mcpu=haswell", "llvm -mcpu=alderlake")
FUSING = "llvm -mcpu=haswell"
"""A target with fused multiply-add, which most machines can run."""


@cache
def built(case: Case) -> CaseModule:
    return module(case)


def draw(place: int, shape: tuple[int, ...], dtype: str) -> np.ndarray[Any, Any]:
    """Values from the whole range; floats rich in ties of a quantization."""
    rng = np.random.default_rng(place)
    if dtype == "float32":
        return (rng.integers(-600, 600, shape) * 0.15).astype("float32")
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max + 1, shape).astype(dtype)


@cache
def expected(case: Case) -> list[np.ndarray[Any, Any]]:
    what = built(case)
    return reference.run(what.mod, [draw(place, *kind) for place, kind in enumerate(what.inputs)])


def check(case: Case, text: str, threads: int = 1) -> None:
    """Compile the case for a target, run it, and compare every output with the reference's."""
    target, what = runnable(text), built(case)
    scheduled, coverage = apply_best(lower(what.mod, target, threads))
    assert coverage.missing == 0
    machine = relax.VirtualMachine(compile_module(scheduled, target), tvm.cpu())
    arrays = [draw(place, *kind) for place, kind in enumerate(what.inputs)]
    found = machine["main"](*map(tvm.runtime.tensor, arrays))
    outputs = [found] if isinstance(found, tvm.runtime.Tensor) else list(found)
    for label, output, wanted in zip(what.labels, outputs, expected(case), strict=True):
        np.testing.assert_array_equal(output.numpy(), wanted, label, strict=True)


@pytest.mark.parametrize("text", TARGETS)
@pytest.mark.parametrize("case", OPERATORS, ids=lambda case: case.name)
def test_kernel_is_exact(case: Case, text: str) -> None:
    check(case, text)


@pytest.mark.parametrize("text", OTHER_ISAS)
@pytest.mark.parametrize("case", [case for case in OPERATORS if case.every_isa], ids=lambda case: case.name)
def test_kernel_is_exact_on_other_instruction_sets(case: Case, text: str) -> None:
    check(case, text)


@pytest.mark.parametrize("case", (*PLAIN, *FLOAT, *CHAINS), ids=lambda case: case.name)
def test_plain_operator_is_exact(case: Case) -> None:
    check(case, FUSING)


@pytest.mark.parametrize("case", LARGE, ids=lambda case: case.name)
def test_kernel_is_exact_with_two_threads(case: Case) -> None:
    check(case, FUSING, threads=2)

"""PyTorch's quantized operators against the dialect's NumPy reference: every element, every engine, one thread."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="PyTorch is not installed: scripts/setup pytorch")

from tests.support.dialect import evaluate
from tests.support.pytorch_cases import FAMILIES
from tests.support.pytorch_stage_cases import KINDS, stages
from tests.support.pytorch_tensors import DTYPES, ENGINES, ORDERS, OperatorCase, quantized_engine

SEEDS = range(2)
STAGE_SEEDS = range(6)


def _check(case: OperatorCase) -> None:
    found = evaluate(case.build, *case.inputs)
    np.testing.assert_array_equal(found, case.expected, case.name, strict=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("family", FAMILIES)
def test_reference_equals_pytorch(family: str, engine: str, dtype: str) -> None:
    for order in ORDERS:
        for seed in SEEDS:
            for ties in (False, True):
                rng = np.random.default_rng([seed, ties, order == "NHWC", *family.encode()])
                with quantized_engine(engine):
                    for case in FAMILIES[family](rng, engine, dtype, order, ties):
                        _check(case)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", KINDS)
def test_output_stage_equals_pytorch(kind: str, engine: str) -> None:
    for seed in STAGE_SEEDS:
        rng = np.random.default_rng([seed, *kind.encode()])
        with quantized_engine(engine):
            for case in stages(rng, engine, kind, ties=seed % 3 > 0):
                _check(case)

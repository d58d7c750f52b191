"""Every TFLite operator, many random uses of each, against TFLite's interpreters: all elements identical."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest

from autotune_qnn.dialect import reference
from autotune_qnn.frontends import ImportOptions, get_frontend
from autotune_qnn.frontends.tflite.importer import INTERPRETERS
from autotune_qnn.quantization import Arithmetic
from tests.support.tflite_branches import Branches
from tests.support.tflite_cases import CASES
from tests.support.tflite_float_cases import FLOAT_CASES, float_operator

COPIES = 12


@pytest.mark.parametrize("arithmetic", INTERPRETERS, ids=lambda value: value.value)
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("case", CASES)
def test_operator(case: str, dtype: str, arithmetic: Arithmetic, tmp_path: Path) -> None:
    branches = Branches(np.random.default_rng(zlib.crc32(f"{case} {dtype}".encode())), dtype)
    for _ in range(COPIES):
        CASES[case](branches)
    path = tmp_path / f"{case}.tflite"
    path.write_bytes(branches.model())
    frontend = get_frontend("tflite")
    model = frontend.load(path, ImportOptions(arithmetic))
    found = reference.run(model.mod, branches.feeds)
    with frontend.reference(model, threads=1) as runner:
        expected = runner.run(branches.feeds)
    assert len(found) == len(expected) == len(branches.outputs)
    for index, (ours, theirs) in enumerate(zip(found, expected, strict=True)):
        assert ours.dtype == theirs.dtype
        assert ours.shape == theirs.shape
        wrong = int(np.count_nonzero(ours != theirs))
        assert wrong == 0, f"{wrong} of {ours.size} elements of output {index} differ"


@pytest.mark.parametrize("arithmetic", INTERPRETERS, ids=lambda value: value.value)
@pytest.mark.parametrize("name", FLOAT_CASES)
def test_float_operator(name: str, arithmetic: Arithmetic, tmp_path: Path) -> None:
    """Floats are computed by other libraries: at most one unit apart, and nearly everywhere none."""
    branches = Branches(np.random.default_rng(7), "int8")
    for _ in range(4):
        float_operator(branches, name)
    path = tmp_path / "float.tflite"
    path.write_bytes(branches.model())
    frontend = get_frontend("tflite")
    model = frontend.load(path, ImportOptions(arithmetic))
    found = np.concatenate([array.ravel() for array in reference.run(model.mod, branches.feeds)])
    with frontend.reference(model, threads=1) as runner:
        expected = np.concatenate([array.ravel() for array in runner.run(branches.feeds)])
    difference = np.abs(found.astype("int64") - expected)
    assert difference.max() <= 1
    assert np.count_nonzero(difference) <= difference.size // 100

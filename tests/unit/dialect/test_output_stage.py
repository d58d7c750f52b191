"""qnn.output_stage in each engine's arithmetic."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from autotune_qnn import dialect
from autotune_qnn.dialect.engine import StageEngine
from autotune_qnn.dialect.output_stage import stage_factors
from autotune_qnn.errors import DialectError
from tests.support.dialect import evaluate, scale, variable, zero

ENGINES = [engine.value for engine in StageEngine]
ZERO_LAST = ("fbgemm", "qnnpack", "decomposed")


def real(value: Any) -> Any:
    return dialect.constant(value, "float64")


def _stage(
    accumulator: Any, bias: Any, scales: tuple[Any, Any, Any], zo: int, engine: str, dtype: str = "uint8"
) -> Any:
    si, sw, so = (real(value) for value in scales)
    return evaluate(
        lambda x: dialect.output_stage(x, scale(bias), si, sw, so, zero(zo), engine=engine, out_dtype=dtype),
        np.array(accumulator, "int32"),
    ).tolist()


@pytest.mark.parametrize("engine", ENGINES)
def test_the_zero_point_joins_before_or_after_rounding(engine: str) -> None:
    # Halves: rint(0.5) + 1 = 1 and rint(1.5) = 2.
    expected = [1, 3, 3] if engine in ZERO_LAST else [2, 2, 4]
    assert _stage([[1], [3], [5]], [0], (0.5, 1, 1), 1, engine) == [[value] for value in expected]


@pytest.mark.parametrize("engine", ENGINES)
def test_bias_scales_and_saturation(engine: str) -> None:
    # (10·0.5·0.25 + 1)/0.25 + 3 = 12; far values saturate.
    assert _stage([[10], [10**7], [-(10**7)]], [1], (0.5, 0.25, 0.25), 3, engine) == [[12], [255], [0]]
    per_channel = (0.5, [0.25, 0.5], 0.25)
    assert _stage([[10, 10]], [1, -1], per_channel, 3, engine) == [[12, 9]]
    assert _stage([[10, -900]], [1, -1], per_channel, -3, engine, "int8") == [[6, -128]]


def test_the_bias_of_qnnpack_is_an_integer() -> None:
    assert _stage([[0]], [0.7], (0.5, 0.5, 1), 0, "qnnpack") == [[1]]  # 2.8 is 3 quarters
    assert _stage([[2]], [0.125], (0.5, 0.5, 0.25), 0, "qnnpack") == [[2]]  # half a quarter rounds to none
    assert _stage([[2]], [0.125], (0.5, 0.5, 0.25), 0, "onednn") == [[2]]
    assert _stage([[2]], [0.1875], (0.5, 0.5, 0.25), 0, "qnnpack") == [[3]]


def test_factors_are_rounded_as_stated() -> None:
    si, sw, so = 0.1, np.array([0.3, 0.7]), 0.9
    f4, one = np.float32, np.float32(1)
    fbgemm = stage_factors(StageEngine.FBGEMM, si, sw, so)
    assert (fbgemm.second == f4(si) * sw.astype(f4) / f4(so)).all()
    onednn = stage_factors(StageEngine.ONEDNN, si, sw, so)
    assert onednn.first == one / f4(1 / si)
    assert onednn.output == one / (one / f4(1 / so))
    assert (onednn.second == sw.astype(f4)).all()
    linear = stage_factors(StageEngine.ONEDNN_LINEAR, si, sw, so)
    assert (linear.second == one / (one / sw.astype(f4))).all()
    assert stage_factors(StageEngine.ONEDNN_LINEAR, si, np.asarray(0.3), so).second == one / f4(1 / 0.3)
    qnnpack = stage_factors(StageEngine.QNNPACK, si, sw, so)
    assert (qnnpack.first == one / (si * sw).astype(f4)).all()


def _call(
    data: Any = ((2, 4), "int32"), bias: Any = None, sw: Any = 1.0, si: Any = None, **attrs: Any
) -> Any:
    return dialect.output_stage(
        variable(*data),
        scale(np.zeros(4)) if bias is None else bias,
        real(1) if si is None else si,
        real(sw),
        real(1),
        zero(0),
        **{"engine": "fbgemm", **attrs},
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"data": ((2, 4), "int8")}, "accumulator must be int32, not int8"),
        ({"bias": scale(np.zeros(3))}, "bias must have shape () or (4,), not (3,)"),
        ({"bias": scale(0)}, "bias must have 1 dimensions, not 0"),
        ({"sw": np.ones(3)}, "kernel_scale must have shape () or (4,), not (3,)"),
        ({"si": scale(1)}, "input_scale must be float64, not float32"),
        ({"engine": "ruy"}, "attribute engine must be fbgemm, onednn"),
        ({"out_dtype": "int16"}, "attribute out_dtype must be int8 or uint8, not 'int16'"),
        ({"axis": 2}, "axis 2 is outside of 2 dimensions"),
    ],
)
def test_rejected(arguments: Any, message: str) -> None:
    with pytest.raises(DialectError) as caught:
        _call(**arguments)
    assert f"qnn.output_stage: {message}" in str(caught.value)

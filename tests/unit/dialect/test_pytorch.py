"""PyTorch's element arithmetic, by hand where it can be, and in exact fractions where not."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from autotune_qnn import dialect
from autotune_qnn.dialect import pytorch
from autotune_qnn.dialect.attributes import Attributes
from autotune_qnn.dialect.engine import by_place, memory_axes
from autotune_qnn.dialect.pytorch_tables import sleef_expf
from tests.support.dialect import evaluate, variable, zero
from tests.support.dialect import scale as float32

f4 = np.float32


def real(value: Any) -> Any:
    return dialect.constant(value, "float64")


def _nearest(exact: Fraction) -> np.float32:
    """The float32 nearest to an exact value, ties to even."""
    start = f4(float(exact))
    candidates = [np.nextafter(start, f4(-np.inf)), start, np.nextafter(start, f4(np.inf))]
    return min(candidates, key=lambda c: (abs(Fraction(float(c)) - exact), int(c.view(np.uint32)) & 1))


def test_fma_rounds_once() -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=2000).astype(f4) for _ in range(2))
    # Addends close to minus the product, at its half steps, and far below it: where two roundings would show.
    c = np.concatenate([-(a * b)[:1000], (rng.normal(size=1000) * 1e-9).astype(f4)])
    c[::3] = np.round(c[::3] * 2**20) / f4(2**20)
    exact = [
        Fraction(float(x)) * Fraction(float(y)) + Fraction(float(z)) for x, y, z in zip(a, b, c, strict=True)
    ]
    expected = np.array([_nearest(value) for value in exact])
    np.testing.assert_array_equal(pytorch.fma(a, b, c), expected)


def test_fma_where_float64_alone_would_round_twice() -> None:
    # 1 + 2⁻²⁴ lies halfway between two float32; the product's last bit, lost in float64, decides.
    tiny = f4(2.0**-60)
    above = pytorch.fma(f4(1 + 2.0**-23), f4(2.0**-24), f4(1) - tiny)
    assert above == f4(1 + 2.0**-23)
    assert pytorch.fma(f4(2.0**-12), f4(2.0**-12), f4(1)) == f4(1)
    assert pytorch.fma(f4(np.inf), f4(1), f4(0)) == np.inf


def test_exponential_is_within_an_ulp() -> None:
    x = np.linspace(-80, 80, 10001).astype(f4)
    exact = np.exp(x.astype(np.float64))
    assert np.max(np.abs(sleef_expf(x) - exact) / np.spacing(exact.astype(f4))) < 1
    assert sleef_expf(f4([0, -200, 200])).tolist() == [1, 0, np.inf]


def test_memory_axes() -> None:
    assert memory_axes(4, "NHWC") == (0, 1, 2, 3)
    assert memory_axes(4, "NCHW") == (0, 3, 1, 2)
    assert memory_axes(3, "NCHW") == (0, 2, 1)
    assert memory_axes(2, "NCHW") == (0, 1)
    assert memory_axes(0, "NCHW") == ()


@pytest.mark.parametrize(
    ("order", "block", "expected"),
    [
        ("NHWC", 4, []),
        ("NHWC", 5, [[0, 1, 1, 1], [0, 1, 1, 2]]),
        ("NCHW", 5, [[0, 1, 0, 2], [0, 1, 1, 2]]),
        ("NCHW", 0, []),
    ],
)
def test_places_count_in_the_order_of_memory(order: str, block: int, expected: Any) -> None:
    shape = (1, 2, 2, 3)
    attrs = Attributes("qnn.add", {"tail_block": block, "memory_order": order})
    tail = by_place(shape, attrs, np.zeros_like, np.ones_like, np.zeros(shape))
    assert np.argwhere(tail).tolist() == expected


def _add(left: Any, right: Any, zo: int, **attrs: Any) -> Any:
    parameters = (real(0.5), zero(0), real(0.5), zero(0), real(1), zero(zo))
    return evaluate(
        lambda a, b: dialect.add(a, b, *parameters, **attrs),
        np.array(left, "uint8"),
        np.array(right, "uint8"),
    ).tolist()


def test_sums_tie_before_or_after_the_zero_point() -> None:
    # 0.5·1 + 0.5·2 = 1.5, and then a zero point of 1: rint(1.5) + 1 = 3 but rint(2.5) = 2.
    assert _add([1] * 65, [2] * 65, 1, engine="pytorch") == [3] * 64 + [2]
    assert _add([1] * 65, [2] * 65, 1, engine="pytorch", tail_block=13) == [3] * 65
    assert _add([1], [2], 1, engine="qnnpack") == [3]
    assert _add([1, 0], [0, 3], 1, engine="qnnpack") == [2, 3]  # half away from zero
    assert _add([255], [255], 10, engine="pytorch") == [255]


def test_products_round_before_the_zero_point() -> None:
    got = evaluate(
        lambda a, b: dialect.mul(
            a, b, real(1), zero(2), real(1), zero(0), real(2), zero(1), engine="pytorch"
        ),
        np.array([3, 5, 0], "uint8"),
        np.array([1, 1, 1], "uint8"),
    )
    assert got.tolist() == [1, 3, 0]


@pytest.mark.parametrize("engine", ["pytorch", "decomposed"])
def test_quantize_ties(engine: str) -> None:
    got = evaluate(
        lambda x: dialect.quantize(x, real(1), zero(1), out_dtype="uint8", engine=engine),
        np.array([0.5, 1.5, -0.5, -9, 1e30], "float32"),
    )
    assert got.tolist() == ([2, 2, 0, 0, 255] if engine == "pytorch" else [1, 3, 1, 0, 255])


def test_tables_differ_behind_the_last_block() -> None:
    # Slope 1 on this side: x = 0.5·3 = 1.5, zero point 1.
    def leaky(x: Any) -> Any:
        return dialect.leaky_relu(x, real(0.5), zero(0), real(1), zero(1), alpha=0.5, engine="pytorch")

    assert evaluate(leaky, np.full(65, 3, "uint8")).tolist() == [3] * 64 + [2]
    call = leaky(variable((65,), "uint8"))
    assert not dialect.is_tabulable(call)
    assert dialect.is_tabulable(leaky(variable((64,), "uint8")))


def test_hardsigmoid() -> None:
    got = evaluate(
        lambda x: dialect.hardsigmoid(x, real(1), zero(3), real(1 / 256), zero(0), engine="pytorch"),
        np.arange(0, 8, dtype="uint8"),
    )
    assert got.tolist() == [0, 43, 85, 128, 171, 213, 255, 255]


def _joined(order: str, channels: int) -> Any:
    from tvm import relax

    parts = [np.full((1, channels), 3, "uint8"), np.full((1, 1), 9, "uint8")]
    return evaluate(
        lambda a, b: dialect.concatenate(
            relax.Tuple([a, b]),
            relax.Tuple([real(0.5), real(1)]),
            relax.Tuple([zero(0), zero(1)]),
            real(1),
            zero(1),
            axis=1,
            engine="pytorch",
            memory_order=order,
        ),
        *parts,
    ).tolist()


def test_concatenation_by_channel() -> None:
    assert _joined("NHWC", 9) == [[3] * 8 + [2, 9]]
    assert _joined("NCHW", 9) == [[2] * 9 + [9]]


def test_batch_norm() -> None:
    def vector(value: float) -> Any:
        return float32(np.full(2, value))

    got = evaluate(
        lambda x: dialect.batch_norm(
            x,
            vector(2),
            vector(1),
            vector(0.5),
            vector(4),
            real(0.5),
            zero(1),
            real(0.25),
            zero(3),
            epsilon=0.0,
        ),
        np.array([[1, 3]], "uint8"),
    )
    # (x − 0.5)/2·2 + 1 of 0 and 1 is 0.5 and 1.5: two and six steps.
    assert got.tolist() == [[5, 9]]

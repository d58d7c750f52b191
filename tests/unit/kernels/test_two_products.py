"""Default schedules for CPUs that begin two products a cycle, and for those that begin one."""

from __future__ import annotations

from typing import Any

import pytest

from autotune_qnn.engines.relax import TargetSpec, lower
from autotune_qnn.kernels.templates.two_products import product_cycles
from tests.support.networks import ConvCase


def _task(case: ConvCase, cpu: str) -> Any:
    return lower(case.module(), TargetSpec.parse(f"llvm -mcpu={cpu}"), 1).tasks[0]


def test_cycles_of_a_product() -> None:
    """Two a cycle at best: with ten sums under way, data that serve several products, and few registers."""
    good = product_cycles(7, 2)
    assert 0.5 <= good < 0.51
    assert product_cycles(4, 2) > 1.2 * good
    assert product_cycles(14, 1) > 1.05 * good
    assert product_cycles(14, 2) > 1.05 * good
    assert product_cycles(1, 8) > product_cycles(2, 8) > product_cycles(4, 4)


@pytest.mark.parametrize(
    "case",
    [
        ConvCase(28, 28, 128, 128, 3, 1, 1),
        ConvCase(14, 14, 256, 256, 3, 1, 1),
        ConvCase(16, 16, 32, 32, 3, 1, 1),
        ConvCase(28, 28, 128, 256, 3, 2, 1),
        ConvCase(14, 14, 256, 1024),
    ],
    ids=str,
)
def test_default_tiles(case: ConvCase) -> None:
    """The kernel is the same for every CPU with VNNI, its default schedule is not."""
    one, two = _task(case, "znver4"), _task(case, "cascadelake")
    assert one.key == two.key
    config = two.template().default()
    assert config != one.template().default()
    pixels, blocks = config["rows"] * config["columns"], config["blocks"]
    assert 10 <= pixels * blocks <= 20
    assert blocks > 1


@pytest.mark.parametrize(
    ("case", "one", "two"),
    [
        (ConvCase(32, 32, 16, 16, 3, 1, 1), "winograd", "conv2d"),
        (ConvCase(28, 28, 32, 32, 3, 1, 1), "winograd", "winograd"),
        (ConvCase(8, 8, 64, 64, 3, 1, 1), "winograd", "winograd"),
    ],
    ids=str,
)
def test_tiles_that_share_ports_with_products(case: ConvCase, one: str, two: str) -> None:
    """Winograd's transforms of few channels take longer than the products that they save, unless they run beside."""
    assert _task(case, "znver4").template().name == one
    assert _task(case, "cascadelake").template().name == two

"""Every operator of the dialect has a kernel."""

from __future__ import annotations

from autotune_qnn import dialect
from autotune_qnn.kernels.anchors import is_anchor
from autotune_qnn.kernels.elements import is_elementwise

# Other tests register operators of their own, named so.
OPERATORS = [name for name in dialect.operator_names() if not name.startswith("qnn.test_")]


def test_every_operator_has_a_kernel() -> None:
    without = [name for name in OPERATORS if not (is_anchor(name) or is_elementwise(name))]
    assert without == []


def test_only_concatenations_have_two_rules() -> None:
    both = [name for name in OPERATORS if is_anchor(name) and is_elementwise(name)]
    assert both == ["qnn.concatenate"], "of one input, they rescale it"

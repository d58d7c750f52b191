"""The registry of anchor rules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autotune_qnn.dialect.attributes import Attributes
from autotune_qnn.errors import BuildError
from autotune_qnn.kernels.anchors.overlap import Blocks, Placement
from autotune_qnn.kernels.inputs import KernelInputs
from autotune_qnn.kernels.isa import DotShape
from autotune_qnn.kernels.operand import LaneFunction, Operand
from autotune_qnn.kernels.rules import KernelRules
from autotune_qnn.kernels.storage import Storage
from autotune_qnn.kernels.templates.base import TemplateFactory


@dataclass(frozen=True)
class AnchorCall:
    """The operator around which a kernel is built.

    Attributes:
        operator, call: its name and the Relax call.
        operands: in order; a tuple operand is a tuple of operands.
        shape, dtype: of its output.
        bias: the int32 vector that the next operator adds, or None. Only rules with `takes_bias` see one.
        inputs: the parameters of the kernel.
        dot: the dot-product step of the target.
        output: how the kernel's result is stored.
        channelwise: whether all later operators of the kernel see of an element's place its channel only, and
            take all that depends on it from `inputs.vector`.
    """

    operator: str
    call: Any
    operands: tuple[Any, ...]
    shape: tuple[int, ...]
    dtype: str
    bias: NDArray[np.integer[Any]] | None
    inputs: KernelInputs
    dot: DotShape
    output: Storage
    channelwise: bool

    @property
    def attributes(self) -> Attributes:
        """The operator's attributes."""
        return Attributes(self.operator, self.call.attrs)

    def constant(self, place: int) -> NDArray[Any]:
        """A constant operand's values; BuildError where it is not constant."""
        operand = self.operands[place]
        if not isinstance(operand, Operand) or operand.constant is None:
            raise BuildError(f"{self.operator}: operand {place} must be a constant")
        return operand.constant

    def activation(self, place: int = 0) -> Operand:
        """A tensor operand that is a parameter of the kernel."""
        operand = self.operands[place]
        if not isinstance(operand, Operand) or operand.tensor is None:
            raise self.unsupported(f"operand {place}, which is no tensor")
        return operand

    def scalar(self, place: int) -> Any:
        """The value of a constant operand of one element, in its own dtype."""
        array = self.constant(place)
        if array.size != 1:
            raise self.unsupported(f"operand {place} of {array.size} values")
        return array.reshape(-1)[0]

    def unsupported(self, what: str) -> BuildError:
        """The error for an operator that this rule cannot lower."""
        return BuildError(f"{self.operator}: no kernel for {what}")


@dataclass(frozen=True)
class Anchor:
    """What an anchor computes: lanes by output index, and how to schedule the kernel.

    `kind` and `detail` name it ("conv2d", "56x56x24_144_k1s1"); `macs` counts multiply-accumulates. `store`, where
    given, makes the output tensor of the finished lanes, [..., group, channel of the group], whose last group may
    overlap the one before; with `blocks`, the kernel's lanes are computed block by block, with `placement` in
    an order of its own. `stored`, where given, makes of the PrimFunc with such an output the one whose output has
    the operator's shape.
    """

    lanes: LaneFunction
    kind: str
    detail: str
    macs: int
    template: TemplateFactory
    store: Callable[[Operand], Any] | None = None
    blocks: Blocks | None = None
    placement: Placement | None = None
    stored: Callable[[Any], Any] | None = None


Rule = Callable[[AnchorCall], Anchor]
_RULES: KernelRules[AnchorCall, Anchor] = KernelRules()
_BIASED: set[str] = set()
_UNSIGNED: set[str] = set()


def anchor(
    operator: str,
    *,
    takes_bias: bool = False,
    needs_unsigned: bool = False,
    engines: tuple[str, ...] = ("",),
) -> Callable[[Rule], Rule]:
    """Register a function as the anchor rule of an operator for the formulas of `engines`.

    `takes_bias`: the rule folds a following bias. `needs_unsigned`: it reads its data as uint8 only.
    """

    def register(rule: Rule) -> Rule:
        _RULES.add(operator, engines, rule)
        if takes_bias:
            _BIASED.add(operator)
        if needs_unsigned:
            _UNSIGNED.add(operator)
        return rule

    return register


def is_anchor(operator: str) -> bool:
    """Whether a kernel can be built around the operator."""
    return operator in _RULES


def takes_bias(operator: str) -> bool:
    """Whether the operator's rule folds a following bias."""
    return operator in _BIASED


def needs_unsigned(operator: str) -> bool:
    """Whether the operator's rule reads its data as uint8 only."""
    return operator in _UNSIGNED


def anchor_rule(operator: str) -> Rule:
    """The anchor rule of an operator, which refuses calls with an engine whose formulas no rule knows."""
    return _RULES.rule(operator)

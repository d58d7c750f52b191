"""The registry of element rules."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tvm import tirx

from autotune_qnn.dialect.attributes import Attributes
from autotune_qnn.dialect.engine import run_axes
from autotune_qnn.errors import BuildError
from autotune_qnn.kernels.inputs import KernelInputs
from autotune_qnn.kernels.lane import int32
from autotune_qnn.kernels.operand import LaneFunction
from autotune_qnn.kernels.rules import KernelRules


@dataclass(frozen=True)
class Places:
    """Elements of runs counted in the order of the framework's memory: those before `boundary` lie in whole blocks.

    Attributes:
        shape: of the tensor.
        axes: the axes of a run, in the order of memory.
        boundary, count: elements of a run in whole blocks, and all elements of a run.
    """

    shape: tuple[int, ...]
    axes: tuple[int, ...]
    boundary: int
    count: int

    def choose(self, index: Any, body: Callable[[], Any], tail: Callable[[], Any]) -> Any:
        """The expression of an element in a whole block or of one behind them."""
        if self.boundary == self.count:
            return body()
        if self.boundary == 0:
            return tail()
        flat: Any = 0
        for axis in self.axes:
            flat = flat * self.shape[axis] + index[axis]
        return tirx.Select(flat < int32(self.boundary), body(), tail())


@dataclass(frozen=True)
class ElementCall:
    """An elementwise operator in a kernel under construction.

    Attributes:
        operator: its name, as `qnn.requantize`.
        call: the Relax call, for its attributes.
        operands: its operands in order; a tuple operand is a tuple of operands.
        shape, dtype: of its output.
        inputs: the parameters of the kernel.
    """

    operator: str
    call: Any
    operands: tuple[Any, ...]
    shape: tuple[int, ...]
    dtype: str
    inputs: KernelInputs

    def text(self, name: str) -> str:
        """A string attribute."""
        return Attributes(self.operator, self.call.attrs).string(name)

    def number(self, name: str) -> int:
        """An integer attribute."""
        return Attributes(self.operator, self.call.attrs).integer(name)

    def real(self, name: str) -> float:
        """A float attribute."""
        return Attributes(self.operator, self.call.attrs).number(name)

    def unsupported(self, what: str) -> BuildError:
        """The error for an operator that this rule cannot lower."""
        return BuildError(f"{self.operator}: no kernel for {what}")

    def flat_index(self, index: Any) -> Any:
        """The row-major place of an element of the output."""
        flat: Any = 0
        for place, extent in zip(index, self.shape, strict=True):
            flat = flat * extent + place
        return flat

    def places(self, operands: int = 1) -> Places:
        """Which elements lie in whole blocks, by the attributes tail_block and memory_order and the shapes of the
        first `operands` operands.
        """
        shapes = [operand.shape for operand in self.operands[:operands]]
        axes = run_axes(self.shape, shapes, self.text("memory_order"))
        count, block = math.prod(self.shape[axis] for axis in axes), self.number("tail_block")
        boundary = count // block * block if block else count
        return Places(self.shape, axes, boundary, count)


Rule = Callable[[ElementCall], LaneFunction]
_RULES: KernelRules[ElementCall, LaneFunction] = KernelRules()
_ALWAYS_CHANNELWISE = frozenset(
    {"relax.add", "relax.clip", "relax.nn.relu", "qnn.output_stage", "qnn.concatenate"}
)
_CHANNELWISE: dict[str, Callable[[Any], bool]] = {}


def element(
    *operators: str, engines: tuple[str, ...] = ("",), channelwise: Callable[[Any], bool] | None = None
) -> Callable[[Rule], Rule]:
    """Register a function as the element rule of these operators for the formulas of `engines`.

    `channelwise` says of a call whether it is, see `is_channelwise`; None: never, unless this file says so.
    """

    def register(rule: Rule) -> Rule:
        for operator in operators:
            _RULES.add(operator, engines, rule)
            if channelwise is not None:
                _CHANNELWISE[operator] = channelwise
        return rule

    return register


def is_elementwise(operator: str) -> bool:
    """Whether an element rule exists for the operator."""
    return operator in _RULES


def element_rule(operator: str) -> Rule:
    """The element rule of an operator, which refuses calls with an engine whose formulas no rule knows."""
    return _RULES.rule(operator)


def is_channelwise(call: Any) -> bool:
    """Whether an elementwise operator sees of an element's place its channel only, through `inputs.vector`."""
    name = str(call.op.name)
    if name == "qnn.requantize":
        return Attributes(name, call.attrs).integer("tail_block") == 0
    return name in _ALWAYS_CHANNELWISE or (name in _CHANNELWISE and _CHANNELWISE[name](call))

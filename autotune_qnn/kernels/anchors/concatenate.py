"""Anchor rules of qnn.concatenate: each input copied, or rescaled in float32."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from tvm import tirx

from autotune_qnn.kernels.anchors.joined import Joined, Part
from autotune_qnn.kernels.anchors.registry import Anchor, AnchorCall, anchor
from autotune_qnn.kernels.elements.concatenate import Source, source, source_pytorch
from autotune_qnn.kernels.lane import Lane
from autotune_qnn.kernels.operand import Operand
from autotune_qnn.kernels.templates.concatenate import ConcatenateTemplate
from autotune_qnn.kernels.templates.joined import JoinedTemplate


@anchor("qnn.concatenate")
def concatenate(call: AnchorCall) -> Anchor:
    """Every element from the input that holds its place along the axis, rescaled as TFLite does."""
    return joined_parts(call, [source(call, place) for place in range(len(call.operands[0]))])


@anchor("qnn.concatenate", engines=("pytorch",))
def concatenate_pytorch(call: AnchorCall) -> Anchor:
    """The same, rescaled as PyTorch does."""
    return joined_parts(call, [source_pytorch(call, place) for place in range(len(call.operands[0]))])


def joined_parts(call: AnchorCall, parts: list[Source]) -> Anchor:
    """The anchor of a concatenation of these inputs."""
    axis = call.attributes.integer("axis") % len(call.shape)
    operands: tuple[Operand, ...] = call.operands[0]
    starts = tuple(np.cumsum([0, *(operand.shape[axis] for operand in operands)]).tolist())
    name = "x".join(map(str, call.shape)) + f"_axis{axis}_of{len(parts)}"
    if axis == len(call.shape) - 1:
        joined = Joined(
            call.shape,
            tuple(
                Part(start, end - start, source.lanes, source.copied)
                for source, start, end in zip(parts, starts, starts[1:], strict=False)
            ),
        )
        template = JoinedTemplate.factory(call.shape, tuple(part.vectors for part in joined.parts))
        return Anchor(joined.at, "concatenate", name, 0, template, placement=joined)

    def lane(index: Sequence[Any]) -> Lane:
        joined: Any = None
        for part, start in reversed(list(zip(parts, starts[:-1], strict=True))):
            own = [place - start if at == axis else place for at, place in enumerate(index)]
            value = part.lanes(own).finished(call.inputs)
            if joined is None:
                joined, boundary = value, start
            else:
                joined, boundary = tirx.if_then_else(index[axis] < boundary, value, joined), start
        return Lane.of(joined, call.dtype)

    return Anchor(lane, "concatenate", name, 0, ConcatenateTemplate.factory(call.shape, axis, starts))

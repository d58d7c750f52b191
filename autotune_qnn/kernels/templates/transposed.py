"""The schedule template of transposed convolutions: that of a convolution, behind the widening of its input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from autotune_qnn.kernels.geometry import ConvGeometry
from autotune_qnn.kernels.isa import DotShape
from autotune_qnn.kernels.templates.base import Config, ConfigSpace, TemplateFactory
from autotune_qnn.kernels.templates.conv2d import ConvTemplate
from autotune_qnn.kernels.templates.primitives import copy_rows, find_block

_LANES = 16


@dataclass(frozen=True)
class TransposedTemplate:
    """A convolution's template; a widened input that is not part of the border's copy is copied before it."""

    convolution: ConvTemplate

    @property
    def name(self) -> str:
        """conv2d_transpose."""
        return "conv2d_transpose"

    @classmethod
    def factory(cls, geometry: ConvGeometry, dot: DotShape) -> TemplateFactory:
        """The template for each number of threads."""
        return lambda threads: cls(ConvTemplate(geometry, dot, threads))

    def space(self) -> ConfigSpace:
        """The knobs of the convolution."""
        return self.convolution.space()

    def default(self) -> Config:
        """The convolution's default."""
        return self.convolution.default()

    def apply(self, sch: Any, config: Config) -> None:
        """Schedule the block widened, where there is one, and the convolution."""
        widened = find_block(sch, "widened")
        if widened is not None:
            copy_rows(sch, widened, _LANES, bool(config["parallel"]))
        self.convolution.apply(sch, config)

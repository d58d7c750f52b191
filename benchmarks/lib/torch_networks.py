"""MobileNetV1 and EfficientNet-Lite0, which torchvision has not, ready for PyTorch's eager quantization.

As in torchvision's quantized networks, ReLU6 is ReLU: what a layer's output may be at most its scale says.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.ao.nn.quantized import FloatFunctional
from torch.ao.quantization import DeQuantStub, QuantStub, fuse_modules, fuse_modules_qat

_CLASSES = 1000


class ConvNorm(nn.Sequential):  # type: ignore[misc]  # untyped
    """Convolution (padded to keep the size, where the stride is 1), batch norm and, unless left out, ReLU."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, *, relu: bool = True
    ) -> None:
        layers = [
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(outputs),
        ]
        super().__init__(*layers, *([nn.ReLU()] if relu else []))


class InvertedResidual(nn.Module):  # type: ignore[misc]  # untyped
    """Expand by `ratio`, depthwise, project; and the input added where the shape stays."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, ratio: int) -> None:
        super().__init__()
        wide = inputs * ratio
        expand = [ConvNorm(inputs, wide, 1)] if ratio > 1 else []
        self.body = nn.Sequential(
            *expand, ConvNorm(wide, wide, kernel, stride, wide), ConvNorm(wide, outputs, 1, relu=False)
        )
        self.adds = stride == 1 and inputs == outputs
        self.add = FloatFunctional()

    def forward(self, data: Any) -> Any:
        """NCHW to NCHW."""
        return self.add.add(self.body(data), data) if self.adds else self.body(data)


class Classifier(nn.Module):  # type: ignore[misc]  # untyped
    """Features, mean over the image, one linear layer, between the stubs where quantization begins and ends."""

    def __init__(self, features: list[nn.Module], width: int) -> None:
        super().__init__()
        self.quant = QuantStub()
        self.features = nn.Sequential(*features)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(width, _CLASSES)
        self.dequant = DeQuantStub()

    def forward(self, data: Any) -> Any:
        """[batch, 3, height, width] to [batch, 1000]."""
        data = self.pool(self.features(self.quant(data)))
        return self.dequant(self.linear(torch.flatten(data, 1)))

    def fuse_model(self, is_qat: bool | None = None) -> None:
        """Folds batch norm, and ReLU where it follows, into the convolutions."""
        fuse = fuse_modules_qat if is_qat else fuse_modules
        for part in self.modules():
            if isinstance(part, ConvNorm):
                fuse(part, [str(place) for place in range(len(part))], inplace=True)


def mobilenet_v1() -> nn.Module:
    """MobileNetV1 1.0 for 224×224 images (Howard et al. 2017, table 1)."""
    layers: list[nn.Module] = [ConvNorm(3, 32, 3, 2)]
    width = 32
    blocks = [
        (64, 1),
        (128, 2),
        (128, 1),
        (256, 2),
        (256, 1),
        (512, 2),
        *[(512, 1)] * 5,
        (1024, 2),
        (1024, 1),
    ]
    for outputs, stride in blocks:
        layers += [ConvNorm(width, width, 3, stride, width), ConvNorm(width, outputs, 1)]
        width = outputs
    return Classifier(layers, width).eval()


def efficientnet_lite0() -> nn.Module:
    """EfficientNet-Lite0: EfficientNet-B0's blocks (Tan and Le 2019, table 1) without squeeze-and-excitation."""
    layers: list[nn.Module] = [ConvNorm(3, 32, 3, 2)]
    width = 32
    stages = (
        (1, 16, 3, 1, 1),
        (2, 24, 3, 2, 6),
        (2, 40, 5, 2, 6),
        (3, 80, 3, 2, 6),
        (3, 112, 5, 1, 6),
        (4, 192, 5, 2, 6),
        (1, 320, 3, 1, 6),
    )
    for count, outputs, kernel, stride, ratio in stages:
        for place in range(count):
            layers.append(InvertedResidual(width, outputs, kernel, stride if place == 0 else 1, ratio))
            width = outputs
    return Classifier([*layers, ConvNorm(width, 1280, 1)], 1280).eval()


BUILDERS: dict[str, Callable[[], nn.Module]] = {
    "mobilenet_v1": mobilenet_v1,
    "efficientnet_lite0": efficientnet_lite0,
}

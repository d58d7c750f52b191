"""ResNet-20 for CIFAR-10 in plain PyTorch, for the trained weights among the real models, and its quantization."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import torch
    from torch.ao import quantization


class Block(torch.nn.Module):
    """Two convolutions around a shortcut that drops every other pixel and fills up channels with zeros."""

    def __init__(self, planes: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = torch.nn.Conv2d(planes, channels, 3, stride, 1, bias=False)
        self.bn1 = torch.nn.BatchNorm2d(channels)
        self.relu = torch.nn.ReLU()
        self.conv2 = torch.nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = torch.nn.BatchNorm2d(channels)
        self.add = torch.ao.nn.quantized.FloatFunctional()
        self.stride, self.extra = stride, (channels - planes) // 2

    def forward(self, x: Any) -> Any:
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        if self.extra:
            x = torch.nn.functional.pad(
                x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.extra, self.extra)
            )
        return self.add.add_relu(x, y)


class ResNet20(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.quant = quantization.QuantStub()
        self.conv1 = torch.nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = torch.nn.BatchNorm2d(16)
        self.relu = torch.nn.ReLU()
        self.layer1, self.layer2, self.layer3 = (
            torch.nn.Sequential(Block(planes, width, stride), Block(width, width, 1), Block(width, width, 1))
            for planes, width, stride in ((16, 16, 1), (16, 32, 2), (32, 64, 2))
        )
        self.linear = torch.nn.Linear(64, 10)
        self.dequant = quantization.DeQuantStub()

    def forward(self, x: Any) -> Any:
        x = self.relu(self.bn1(self.conv1(self.quant(x))))
        x = self.layer3(self.layer2(self.layer1(x)))
        x = torch.nn.functional.avg_pool2d(x, x.size()[3])
        return self.dequant(self.linear(x.view(x.size(0), -1)))


def trained(shared: Path) -> ResNet20:
    """With the trained weights."""
    file = shared / "models" / "pytorch" / "cifar10_resnet20_float.th"
    state = torch.load(file, map_location="cpu", weights_only=True)["state_dict"]
    network = ResNet20()
    network.load_state_dict({name.removeprefix("module."): value for name, value in state.items()})
    return network.eval()


def eager(network: ResNet20, engine: str, images: Any) -> Any:
    """Quantized in eager mode."""
    pairs = [["conv1", "bn1", "relu"]]
    for name, module in network.named_modules():
        if isinstance(module, Block):
            pairs += [[f"{name}.conv1", f"{name}.bn1", f"{name}.relu"], [f"{name}.conv2", f"{name}.bn2"]]
    network = quantization.fuse_modules(network, pairs)
    network.qconfig = quantization.get_default_qconfig(engine)
    prepared = quantization.prepare(network)
    prepared(images)
    return quantization.convert(prepared)


def fx(network: ResNet20, engine: str, images: Any) -> Any:
    """Quantized in FX mode."""
    from torch.ao.quantization import quantize_fx

    mapping = quantization.get_default_qconfig_mapping(engine)
    prepared = quantize_fx.prepare_fx(network, mapping, (images,))
    prepared(images)
    return quantize_fx.convert_fx(prepared)

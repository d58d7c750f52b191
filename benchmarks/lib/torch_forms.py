"""PyTorch's networks of the comparison, with seeded random weights: in float, and quantized for an engine."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import torch

from autotune_qnn.evaluation.preprocessing import ImageRecipe, Preprocessing
from autotune_qnn.frontends.base import Array
from autotune_qnn.frontends.pytorch import networks
from autotune_qnn.frontends.pytorch.files import save_module
from autotune_qnn.zoo.own_images import own_images
from autotune_qnn.zoo.torchvision import NETWORKS, SEED
from benchmarks.lib import torch_networks


def recipe(name: str) -> ImageRecipe:
    """How a network's images are prepared; the project's own networks take them as torchvision's MobileNetV2 does."""
    return NETWORKS.get(name, NETWORKS["mobilenet_v2"]).recipe


def input_shape(name: str, batch: int) -> tuple[int, int, int, int]:
    """NCHW."""
    side = NETWORKS.get(name, NETWORKS["mobilenet_v2"]).crop
    return batch, 3, side, side


@functools.lru_cache(maxsize=1)
def pictures(name: str) -> Array:
    """The project's pictures as inputs, float32 [pictures, 3, height, width]: what every form is calibrated on."""
    steps = Preprocessing.for_input(input_shape(name, 1), "float32", recipe(name))
    return np.stack([steps.load(path) for path in own_images()])


def calibration(name: str, batch: int) -> list[Array]:
    """The pictures in batches of `batch`; the last is filled up from the beginning."""
    images = pictures(name)
    count = -(-len(images) // batch)
    filled = np.resize(images, (count * batch, *images.shape[1:]))
    return [np.ascontiguousarray(part) for part in np.split(filled, count)]


def float_module(name: str) -> Any:
    """The float network; every other form is made from one like it."""
    build = torch_networks.BUILDERS.get(name) or functools.partial(networks.float_network, name)
    return networks.calibrated(build, pictures(name), seed=SEED)


def torchscript(name: str, engine: str, batch: int, folder: Path) -> Path:
    """The network quantized for one of PyTorch's engines, as the zoo does it, traced for a batch."""
    module = networks.quantized(float_module(name), engine, pictures(name))
    path = folder / f"{name}_random_{engine}.pt"
    save_module(module, input_shape(name, batch), path)
    return path


def onnx(name: str, batch: int, path: Path) -> None:
    """Writes the float network, batch norm folded into its convolutions, as ONNX with "input" and "output"."""
    module = float_module(name)
    module.fuse_model(is_qat=False)
    example = torch.zeros(input_shape(name, batch))
    names = {"input_names": ["input"], "output_names": ["output"]}
    with torch.no_grad():
        torch.onnx.export(module, (example,), str(path), dynamo=False, opset_version=17, **names)


def macs(name: str, batch: int) -> int:
    """Multiply-accumulates of the network's convolutions and linear layers for a batch."""
    module = float_module(name)
    counts: list[int] = []

    def count(layer: Any, arguments: tuple[Any, ...], output: Any) -> None:
        del arguments
        counts.append(int(output[0].numel()) * int(layer.weight[0].numel()))

    for layer in module.modules():
        if isinstance(layer, (torch.nn.Conv2d, torch.nn.Linear)):
            layer.register_forward_hook(count)
    with torch.no_grad():
        module(torch.zeros(input_shape(name, 1)))
    return sum(counts) * batch

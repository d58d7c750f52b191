"""The networks that the benchmarks bring along: their size is the published one."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="PyTorch is not installed: scripts/setup pytorch")

import numpy as np
import torch

from autotune_qnn.frontends.pytorch import networks
from benchmarks.lib import torch_forms, torch_networks


@pytest.mark.parametrize(
    ("name", "macs", "parameters"),
    [("mobilenet_v1", 568_740_352, 4_231_976), ("efficientnet_lite0", 384_000_000, 4_652_008)],
)
def test_sizes(name: str, macs: int, parameters: int) -> None:
    module = torch_networks.BUILDERS[name]()
    counts: list[int] = []

    def count(layer: object, arguments: object, output: torch.Tensor) -> None:
        counts.append(output[0].numel() * layer.weight[0].numel())  # type: ignore[attr-defined]

    for layer in module.modules():
        if isinstance(layer, (torch.nn.Conv2d, torch.nn.Linear)):
            layer.register_forward_hook(count)
    with torch.no_grad():
        module(torch.zeros(1, 3, 224, 224))
    assert sum(counts) == pytest.approx(macs, rel=0.02)
    assert sum(part.numel() for part in module.parameters()) == pytest.approx(parameters, rel=0.001)


def small() -> torch.nn.Module:
    layers = [torch_networks.ConvNorm(3, 8, 3, 2), torch_networks.InvertedResidual(8, 8, 3, 1, 2)]
    return torch_networks.Classifier(layers, 8).eval()


def test_networks_of_these_blocks_can_be_quantized() -> None:
    images = np.random.default_rng(0).normal(size=(2, 3, 16, 16)).astype(np.float32)
    module = networks.calibrated(small, images)
    assert torch.equal(networks.calibrated(small, images).linear.weight, module.linear.weight)
    quantized = networks.quantized(module, "fbgemm", images)
    assert quantized(torch.from_numpy(images)).shape == (2, 1000)
    floats = (torch.nn.Conv2d, torch.nn.BatchNorm2d, torch.nn.Linear)
    assert not [part for part in quantized.modules() if type(part) in floats]


def test_calibration_is_in_whole_batches() -> None:
    batches = torch_forms.calibration("mobilenet_v1", 3)
    assert {batch.shape for batch in batches} == {(3, 3, 224, 224)}
    assert np.array_equal(batches[-1][-1], batches[0][0])

"""Exported programs against themselves: what is raised exactly is identical, sums differ near ties alone."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autotune_qnn.dialect import reference
from autotune_qnn.errors import ModelError, UsageError
from autotune_qnn.frontends import ImportedModel, ImportOptions, get_frontend
from autotune_qnn.quantization import Arithmetic
from tests.support.pt2e import QUANTIZERS, quantized_program, quantizer
from tests.support.torch import needs_torchao

torch = pytest.importorskip("torch", reason="PyTorch is not installed: scripts/setup pytorch")

pytestmark = [needs_torchao, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


class Mixed(torch.nn.Module):  # type: ignore[misc]
    """Convolutions of several kinds, a sum, a concatenation, pooling and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        nn = torch.nn
        self.first = nn.Sequential(
            nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()
        )
        self.deep = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.ReLU6())
        self.last = nn.Conv2d(16, 16, 1)
        self.pool = nn.MaxPool2d(2)
        self.classes = nn.Linear(32, 10)

    def forward(self, x: Any) -> Any:
        x = self.first(x)
        y = self.deep(x)
        z = self.pool(torch.relu(self.last(y) + x))
        z = torch.cat([z, self.pool(y)], 1)
        return self.classes(torch.nn.functional.adaptive_avg_pool2d(z, 1).flatten(1))


class Moving(torch.nn.Module):  # type: ignore[misc]
    """Nothing but moves and comparisons between one quantize and one dequantize."""

    def forward(self, x: Any) -> Any:
        x = quantize_and_back(x)
        x = torch.nn.functional.max_pool2d(torch.relu(x), 3, stride=2, padding=1)
        first, second = x.permute(0, 2, 3, 1)[:, 1:].split((2, 1), dim=3)
        return quantize_and_back(torch.cat([second, first], dim=3).reshape(1, -1))


def quantize_and_back(x: Any) -> Any:
    ops = torch.ops.quantized_decomposed
    stored = ops.quantize_per_tensor(x, 0.02, 90, 0, 255, torch.uint8)
    return ops.dequantize_per_tensor(stored, 0.02, 90, 0, 255, torch.uint8)


def inputs(count: int, size: int = 32) -> list[Any]:
    generator = np.random.default_rng(7)
    return [generator.standard_normal((1, 3, size, size)).astype(np.float32) for _ in range(count)]


def saved(module: Any, path: Path, size: int = 32) -> Path:
    with torch.no_grad():
        torch.export.save(torch.export.export(module.eval(), (torch.zeros(1, 3, size, size),)), str(path))
    return path


def loaded(path: Path, arithmetic: Arithmetic | None = None) -> ImportedModel:
    return get_frontend("pytorch").load(path, ImportOptions(arithmetic=arithmetic))


@pytest.fixture(scope="module", params=QUANTIZERS)
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("programs") / f"{request.param}.pt2"
    return quantized_program(
        Mixed(), [torch.from_numpy(values) for values in inputs(3)], quantizer(request.param), path
    )


def test_a_network_agrees_with_its_program(program: Path) -> None:
    model = loaded(program)
    assert model.arithmetic is Arithmetic.EXPORTED
    assert dict(model.operators)["aten::convolution"] == 3
    assert any("3 convolution" in line and "summed" in line for line in model.remarks)
    with get_frontend("pytorch").reference(model, 1) as runner:
        for values in inputs(4):
            (expected,) = runner.run([values])
            (found,) = reference.run(model.mod, [values])
            assert np.allclose(found, expected, rtol=0, atol=2e-3)
            assert np.abs(found - expected).max() < 0.02 * np.abs(expected).max()


def test_stored_integers_take_part_as_they_are(program: Path) -> None:
    model = loaded(program)
    text = str(model.mod.script(show_meta=False))
    assert text.count("qnn.conv2d") >= 3
    assert "qnn.dense" in text
    assert "relax.nn.conv2d" not in text.replace("R.nn", "relax.nn")


def test_moves_and_comparisons_are_identical(tmp_path: Path) -> None:
    from autotune_qnn.frontends.pytorch.exported.program import register_operators

    register_operators()
    model = loaded(saved(Moving(), tmp_path / "moving.pt2"))
    assert len(model.remarks) == 2
    with get_frontend("pytorch").reference(model, 1) as runner:
        for values in inputs(5):
            (expected,) = runner.run([values])
            (found,) = reference.run(model.mod, [values])
            assert np.array_equal(found, expected)


def test_wrong_shapes_and_arithmetics_are_refused(program: Path, tmp_path: Path) -> None:
    frontend = get_frontend("pytorch")
    with pytest.raises(UsageError, match="exported for an input of 1,3,32,32, not 1,3,64,64"):
        frontend.load(program, ImportOptions(input_shape=(1, 3, 64, 64)))
    with pytest.raises(UsageError, match="not 2,3,32,32"):
        frontend.load(program, ImportOptions(batch=2))
    if program.stem == "xnnpack":
        with pytest.raises(UsageError, match="stores activations as int8, and Inductor's"):
            frontend.load(program, ImportOptions(arithmetic=Arithmetic.INDUCTOR))
    with pytest.raises(UsageError, match="exported, inductor"):
        frontend.load(program, ImportOptions(arithmetic=Arithmetic.FBGEMM))
    damaged = tmp_path / "damaged.pt2"
    damaged.write_bytes(program.read_bytes()[:-100])
    with pytest.raises(ModelError):
        frontend.load(damaged, ImportOptions(input_shape=(1, 3, 32, 32)))


@pytest.fixture(scope="module")
def resnets(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A trained network, quantized by each quantizer."""
    from tests.support.resnet20 import trained

    folder = tmp_path_factory.mktemp("resnets")
    calibration = [torch.from_numpy(values) for values in inputs(4)]
    return {
        name: quantized_program(trained(shared), calibration, quantizer(name), folder / f"{name}.pt2")
        for name in QUANTIZERS
    }


@pytest.mark.shared_data
@pytest.mark.skipif(shutil.which("g++") is None, reason="Inductor needs a C++ compiler")
def test_a_trained_network_is_identical_to_what_inductor_compiles(resnets: dict[str, Path]) -> None:
    model = loaded(resnets["x86"], Arithmetic.INDUCTOR)
    assert any("as Inductor does" in line for line in model.remarks)
    with get_frontend("pytorch").reference(model, 1) as runner:
        for values in inputs(6):
            (expected,) = runner.run([values])
            (found,) = reference.run(model.mod, [values])
            assert np.array_equal(found, expected)


@pytest.mark.shared_data
@pytest.mark.parametrize("name", QUANTIZERS)
def test_a_trained_network_agrees_with_its_program(name: str, resnets: dict[str, Path]) -> None:
    """Roundings near ties differ, once in some ten thousand, and what is computed from them."""
    model = loaded(resnets[name])
    with get_frontend("pytorch").reference(model, 1) as runner:
        for values in inputs(6):
            (expected,) = runner.run([values])
            (found,) = reference.run(model.mod, [values])
            assert np.abs(found - expected).max() < 0.05 * np.abs(expected).max()


def test_a_float_program_is_refused(tmp_path: Path) -> None:
    path = saved(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU()), tmp_path / "float.pt2")
    with pytest.raises(ModelError, match="float network"):
        loaded(path)

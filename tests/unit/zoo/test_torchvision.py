"""Which networks there are, how their weights are come by, and what the user is told. PyTorch is a stand-in here."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from autotune_qnn.errors import MissingDependencyError, ModelError, UsageError
from autotune_qnn.evaluation.preprocessing import Fit, Preprocessing
from autotune_qnn.zoo import torchvision
from autotune_qnn.zoo.own_images import own_images
from autotune_qnn.zoo.torchvision import NETWORKS, Weights, is_network, torchvision_network


@dataclass
class Stand:
    """In place of frontends.pytorch.networks: writes text files and keeps what it was asked for."""

    source: Path
    kept: Path
    made: list[str] = field(default_factory=list)
    calibrated_on: Any = None

    def published_weights(self, name: str) -> Any:
        return SimpleNamespace(url=(self.source / f"{name}-abc.pth").as_uri(), file=self.kept / f"{name}.pth")

    def pretrained(self, name: str) -> str:
        self.made.append(f"pretrained {name}")
        return self.made[-1]

    def random_weighted(self, name: str, engine: str, images: Any, *, seed: int) -> str:
        self.made.append(f"random {name} {engine} {seed}")
        self.calibrated_on = images
        return self.made[-1]

    def save_module(self, module: str, shape: tuple[int, ...], path: Path) -> None:
        path.write_text(f"{module} {shape}")

    def versions(self) -> str:
        return "torch 0"


@pytest.fixture
def stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stand:
    (tmp_path / "web").mkdir()
    stand = Stand(tmp_path / "web", tmp_path / "torch" / "checkpoints")
    monkeypatch.setattr(torchvision, "_networks", lambda: stand)
    monkeypatch.setattr(torchvision, "_save", stand.save_module)
    return stand


def test_published_weights_are_downloaded_once_and_used(stand: Stand, tmp_path: Path) -> None:
    (stand.source / "resnet18-abc.pth").write_text("weights")
    model = torchvision_network("quantized_resnet18", tmp_path / "cache", engine="x86")
    assert (model.trained, model.engine, model.notice) == (True, "fbgemm", "")
    assert model.file.name == "resnet18_pretrained.pt"
    (stand.source / "resnet18-abc.pth").unlink()
    again = torchvision_network("resnet18", tmp_path / "cache", weights=Weights.PRETRAINED)
    assert again.file == model.file
    assert stand.made == ["pretrained resnet18"]


def test_without_them_random_weights_come_with_a_notice(stand: Stand, tmp_path: Path) -> None:
    model = torchvision_network("mobilenet_v2", tmp_path / "cache")
    assert not model.trained
    assert model.engine == "qnnpack"
    assert "RANDOM" in model.notice
    assert "mobilenet_v2-abc.pth" in model.notice
    assert stand.calibrated_on.shape == (len(own_images()), 3, 224, 224)
    assert model.file.read_text() == "random mobilenet_v2 qnnpack 0 (1, 3, 224, 224)"
    torchvision_network("mobilenet_v2", tmp_path / "cache")
    assert len(stand.made) == 1
    other = torchvision_network("mobilenet_v2", tmp_path / "cache", engine="x86", batch=2)
    assert other.file.name == "mobilenet_v2_random_x86.pt"
    assert other.input_shape == (2, 3, 224, 224)


def test_the_users_choice_of_weights_is_kept(stand: Stand, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="published weights of googlenet"):
        torchvision_network("googlenet", tmp_path / "cache", weights=Weights.PRETRAINED)
    (stand.source / "googlenet-abc.pth").write_text("weights")
    model = torchvision_network("googlenet", tmp_path / "cache", weights=Weights.RANDOM)
    assert not model.trained
    assert model.notice == ""


def test_a_download_that_is_not_what_its_name_says_is_refused(
    stand: Stand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = b"the weights"
    for digest, trained in ((hashlib.sha256(content).hexdigest()[:8], True), ("00000000", False)):
        name = f"resnet18-{digest}.pth"
        (stand.source / name).write_bytes(content)
        published = SimpleNamespace(url=(stand.source / name).as_uri(), file=stand.kept / name)
        monkeypatch.setattr(stand, "published_weights", lambda _, published=published: published)
        assert torchvision_network("resnet18", tmp_path / "cache").trained is trained
        assert (stand.kept / name).exists() is trained


@pytest.mark.parametrize("shape", [(1, 3, 224), (1, 1, 224, 224), (0, 3, 224, 224), (1, 3, 224, 1 << 20)])
def test_shapes_that_cannot_be(stand: Stand, tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="batch,3,height,width"):
        torchvision_network("resnet18", tmp_path, input_shape=shape)


def test_unknown_names_get_the_list(stand: Stand, tmp_path: Path) -> None:
    assert is_network("quantized_resnet50")
    assert not is_network("resnet51")
    with pytest.raises(UsageError, match="shufflenet_v2_x1_5"):
        torchvision_network("resnet51", tmp_path)


def test_without_pytorch_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("autotune_qnn.frontends.pytorch.networks", raising=False)
    monkeypatch.setitem(sys.modules, "autotune_qnn.frontends.pytorch.networks", None)
    with pytest.raises(MissingDependencyError, match="pytorch"):
        torchvision_network("resnet18", tmp_path)


def test_records_of_preprocessing() -> None:
    steps = Preprocessing.for_input((1, 3, 299, 299), "float32", NETWORKS["inception_v3"].recipe)
    assert "shorter side resized to 342, centre 299x299" in steps.describe()
    assert "mean 0.485, 0.456, 0.406, std 0.229, 0.224, 0.225, float32 NCHW" in steps.describe()
    assert all(network.recipe.fit is Fit.CROP for network in NETWORKS.values())


def test_own_images_make_different_inputs() -> None:
    steps = Preprocessing.for_input((1, 3, 64, 64), "float32", NETWORKS["resnet18"].recipe)
    inputs = [steps.load(path) for path in own_images()]
    assert len(inputs) == 8
    assert all(values.shape == (3, 64, 64) and values.dtype == np.float32 for values in inputs)
    assert len({values.tobytes() for values in inputs}) == 8

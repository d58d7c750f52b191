from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autotune_qnn.errors import MissingDependencyError, ModelError, UsageError
from autotune_qnn.evaluation.preprocessing import Preprocessing
from autotune_qnn.zoo.torchvision import NETWORKS
from tests.support.torch import needs_torch, needs_torchvision

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
ROOT = Path(__file__).resolve().parents[3]
_IMPORT = """
from autotune_qnn.frontends.pytorch.torchvision_shim import import_torchvision
first = import_torchvision()
assert import_torchvision() is first
from torchvision.models import quantization
import torch
torch.ops.torchvision.nms
print(first.__version__, quantization.resnet18.__name__)
"""
_UNLOADABLE = """
from autotune_qnn.frontends.pytorch import torchvision_shim
torchvision_shim._extension_loads = lambda package: False
"""


def picture_inputs(count: int, size: int) -> Any:
    return np.random.default_rng(0).standard_normal((count, 3, size, size)).astype(np.float32)


@needs_torchvision
@pytest.mark.parametrize("loads", [None, False], ids=["as it is", "as if the extension did not load"])
def test_torchvision_imports_in_a_fresh_process(loads: bool | None) -> None:
    code = _IMPORT if loads is None else _UNLOADABLE + _IMPORT
    child = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    assert child.stdout.split()[1] == "resnet18"


@needs_torch
def test_without_torchvision_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from autotune_qnn.frontends.pytorch import torchvision_shim

    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    monkeypatch.setattr(torchvision_shim.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"autotune_qnn\[pytorch\]"):
        torchvision_shim.import_torchvision()


@needs_torchvision
def test_the_zoo_lists_what_torchvision_has() -> None:
    """Names, engines and image sizes are torchvision's own."""
    from autotune_qnn.frontends.pytorch import networks

    networks.import_torchvision()
    from torchvision.models import get_model_weights, list_models
    from torchvision.models import quantization as builders

    assert {f"quantized_{name}" for name in NETWORKS} == set(list_models(module=builders))
    for name, network in NETWORKS.items():
        weights = get_model_weights(f"quantized_{name}").DEFAULT
        steps = weights.transforms()
        assert [network.crop, network.resize] == [steps.crop_size[0], steps.resize_size[0]]
        assert (network.recipe.mean, network.recipe.std) == (tuple(steps.mean), tuple(steps.std))
        assert networks.published_weights(name).engine == network.engine


@needs_torchvision
@pytest.mark.parametrize("size", [(500, 375), (300, 420), (224, 224)])
def test_images_are_prepared_as_torchvision_does(tmp_path: Path, size: tuple[int, int]) -> None:
    from autotune_qnn.frontends.pytorch import networks

    networks.import_torchvision()
    from PIL import Image
    from torchvision.models import get_model_weights

    pixels = np.random.default_rng(1).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    for name in ("mobilenet_v2", "resnet50", "inception_v3"):
        network = NETWORKS[name]
        steps = Preprocessing.for_input((1, 3, network.crop, network.crop), "float32", network.recipe)
        theirs = get_model_weights(f"quantized_{name}").DEFAULT.transforms()(Image.open(tmp_path / "a.png"))
        assert np.array_equal(steps.load(tmp_path / "a.png"), theirs.numpy())


@needs_torchvision
def test_random_weights_are_the_same_every_time_and_leave_no_trace(tmp_path: Path) -> None:
    import torch

    from autotune_qnn.frontends.pytorch import files, networks

    state = torch.random.get_rng_state()
    before = (torch.backends.quantized.engine, torch.get_num_threads())
    outputs = []
    for place in range(2):
        module = networks.random_weighted("shufflenet_v2_x0_5", "fbgemm", picture_inputs(2, 64))
        files.save_module(module, (1, 3, 64, 64), tmp_path / f"{place}.pt")
        traced = torch.jit.load(str(tmp_path / f"{place}.pt"))
        outputs.append(traced(torch.from_numpy(picture_inputs(3, 64)[2:])).detach().numpy())
    assert np.array_equal(outputs[0], outputs[1])
    assert len(np.unique(outputs[0])) > 20
    assert (torch.backends.quantized.engine, torch.get_num_threads()) == before
    assert torch.equal(state, torch.random.get_rng_state())


@needs_torchvision
def test_an_engine_that_is_not_there() -> None:
    from autotune_qnn.frontends.pytorch import networks

    with pytest.raises(UsageError, match="no arithmetic xnnpack"):
        networks.random_weighted("resnet18", "xnnpack", picture_inputs(2, 32))


@needs_torchvision
def test_files_that_hold_something_else_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from autotune_qnn.frontends.pytorch import networks

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    file = networks.published_weights("mobilenet_v2").file
    assert file.is_relative_to(tmp_path)
    file.parent.mkdir(parents=True)
    file.write_bytes(b"nonsense")
    with pytest.raises(ModelError, match="does not hold"):
        networks.pretrained("mobilenet_v2")
    torch.save({"weight": torch.zeros(3)}, file)
    with pytest.raises(ModelError, match="does not hold"):
        networks.pretrained("mobilenet_v2")
    torch.save({"weight": Path}, file)
    with pytest.raises(ModelError, match="does not hold"):
        networks.pretrained("mobilenet_v2")


@needs_torchvision
@pytest.mark.shared_data
def test_published_integers_name_the_cat(
    tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shared state dict, put where torch keeps what it has downloaded."""
    import torch

    from autotune_qnn.frontends.pytorch import files, networks

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    file = networks.published_weights("mobilenet_v2").file
    file.parent.mkdir(parents=True)
    file.symlink_to(shared / "models" / "pytorch" / "mobilenet_v2_qnnpack_rebuilt_state_dict.pth")
    files.save_module(networks.pretrained("mobilenet_v2"), (1, 3, 224, 224), tmp_path / "net.pt")
    steps = Preprocessing.for_input((1, 3, 224, 224), "float32", NETWORKS["mobilenet_v2"].recipe)
    cat = steps.load(shared / "images" / "cat.png")
    scores = torch.jit.load(str(tmp_path / "net.pt"))(torch.from_numpy(cat[None]))
    best = scores[0].topk(3).indices.tolist()
    assert best[0] == 282
    assert set(best) == {282, 285, 281}

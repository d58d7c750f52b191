"""Real PyTorch networks: our NumPy reference and our compiled kernels against PyTorch in its own process."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.support.torch import needs_torch, needs_torchvision

pytestmark = needs_torch
pytest.importorskip("torch", reason="PyTorch is not installed: scripts/setup pytorch")

import torch  # noqa: E402

from autotune_qnn.build.history import no_history  # noqa: E402
from autotune_qnn.build.model import build_model  # noqa: E402
from autotune_qnn.dialect import reference  # noqa: E402
from autotune_qnn.engines.relax.target import TargetSpec  # noqa: E402
from autotune_qnn.errors import ModelError, UnsupportedOperatorError, UsageError  # noqa: E402
from autotune_qnn.frontends.base import ImportedModel, ImportOptions  # noqa: E402
from autotune_qnn.frontends.pytorch.files import load_state_dict, save_module  # noqa: E402
from autotune_qnn.frontends.pytorch.frontend import FRONTEND, import_module  # noqa: E402
from autotune_qnn.frontends.pytorch.torch_runtime import quantized_engine, quietly  # noqa: E402
from autotune_qnn.quantization import Arithmetic  # noqa: E402
from autotune_qnn.runtime.session import Session  # noqa: E402
from tests.support.small_pytorch import SHAPE, Branching, Odd, Places, scripted, small_network  # noqa: E402

ENGINES = (Arithmetic.X86, Arithmetic.FBGEMM, Arithmetic.ONEDNN, Arithmetic.QNNPACK)
CATS = {282, 285, 281}  # tiger cat, Egyptian cat, tabby
IMAGENET = ImportOptions(input_shape=(1, 3, 224, 224))


@pytest.fixture(autouse=True)
def _quiet_loading(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.ERROR), quietly():
        yield


@pytest.fixture(scope="module")
def cat(shared: Path) -> np.ndarray[Any, Any]:
    """The tutorials' cat as they prepare it: stretched to 224, enlarged to 256, the centre of 224 cut out."""
    image = Image.open(shared / "images" / "cat.png").convert("RGB").resize((224, 224))
    image = image.resize((256, 256), Image.Resampling.BILINEAR).crop((16, 16, 240, 240))
    scaled = (np.asarray(image) / 255.0 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    return np.ascontiguousarray(scaled.astype(np.float32).transpose(2, 0, 1)[None])


@pytest.fixture(scope="module")
def mobilenet(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """torchvision's network with the state dict of the real models, as TorchScript."""
    from autotune_qnn.frontends.pytorch.torchvision_shim import import_torchvision

    import_torchvision()
    from torchvision.models.quantization import mobilenet_v2

    with quietly(), quantized_engine(Arithmetic.QNNPACK):
        network = mobilenet_v2(weights=None, quantize=False).eval()
        network.fuse_model(is_qat=False)
        network.qconfig = torch.ao.quantization.get_default_qconfig("qnnpack")
        torch.ao.quantization.prepare(network, inplace=True)
        torch.ao.quantization.convert(network, inplace=True)
        file = shared / "models" / "pytorch" / "mobilenet_v2_qnnpack_rebuilt_state_dict.pth"
        network.load_state_dict(load_state_dict(file))
        path = tmp_path_factory.mktemp("mobilenet") / "mobilenet_v2.pt"
        save_module(network, (1, 3, 224, 224), path)
    return path


def identical(model: ImportedModel, *inputs: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The only output of the NumPy reference for the last input, checked against PyTorch's for each."""
    with FRONTEND.reference(model, 1) as runner:
        for x in inputs:
            (expected,) = runner.run([x])
            (result,) = reference.run(model.mod, [x])
            np.testing.assert_array_equal(result, expected)
    return result


def check_compiled(model: ImportedModel, folder: Path, *inputs: np.ndarray[Any, Any]) -> None:
    """Holds what compiled kernels with default schedules make of the inputs against PyTorch's outputs."""
    library = folder / "network.so"
    build_model(model, TargetSpec.parse("native"), no_history, 1, library)
    with Session.load(library) as session, FRONTEND.reference(model, 1) as runner:
        for x in inputs:
            np.testing.assert_array_equal(session.run([x])[0], runner.run([x])[0])


@needs_torchvision
@pytest.mark.shared_data
@pytest.mark.parametrize("engine", [None, Arithmetic.X86, Arithmetic.FBGEMM, Arithmetic.ONEDNN], ids=str)
def test_mobilenet(engine: Arithmetic | None, mobilenet: Path, cat: np.ndarray[Any, Any]) -> None:
    model = FRONTEND.load(mobilenet, ImportOptions(engine, input_shape=(1, 3, 224, 224)))
    assert model.arithmetic is (engine or Arithmetic.QNNPACK)
    scores = identical(model, cat)
    assert scores.shape == (1, 1000)
    assert set(scores[0].argsort()[-3:]) == CATS


@needs_torchvision
@pytest.mark.shared_data
@pytest.mark.parametrize("engine", [Arithmetic.QNNPACK, Arithmetic.X86], ids=str)
def test_mobilenet_compiled(
    engine: Arithmetic, mobilenet: Path, cat: np.ndarray[Any, Any], tmp_path: Path
) -> None:
    model = FRONTEND.load(mobilenet, ImportOptions(engine, input_shape=(1, 3, 224, 224)))
    noise = np.random.default_rng(0).normal(size=cat.shape).astype(np.float32)
    check_compiled(model, tmp_path, cat, noise)


@pytest.mark.shared_data
def test_one_transposition_is_left(shared: Path) -> None:
    model = FRONTEND.load(shared / "models" / "pytorch" / "mobilenet_quantized.pt", IMAGENET)
    text = str(model.mod)
    assert text.count("permute_dims(") == 1
    assert text.index("qnn.quantize") < text.index("permute_dims(") < text.index("qnn.conv2d")


@pytest.mark.shared_data
def test_hoisted_parameters(shared: Path, cat: np.ndarray[Any, Any]) -> None:
    model = FRONTEND.load(shared / "models" / "pytorch" / "mobilenet_quantized.pt", IMAGENET)
    assert model.arithmetic is Arithmetic.QNNPACK
    assert dict(model.operators)["quantized::conv2d_relu"] == 35
    identical(model, cat)


@pytest.mark.shared_data
@pytest.mark.parametrize("mode", ["eager", "fx"])
@pytest.mark.parametrize("engine", ["x86", "fbgemm", "onednn", "qnnpack"])
def test_resnet20(mode: str, engine: str, shared: Path, tmp_path: Path) -> None:
    from tests.support import resnet20

    rng = np.random.default_rng(1)
    images = rng.normal(size=(8, 3, 32, 32)).astype(np.float32)
    with quantized_engine(Arithmetic(engine)):
        network = getattr(resnet20, mode)(resnet20.trained(shared), engine, torch.from_numpy(images))
        options = ImportOptions(Arithmetic(engine), input_shape=(1, 3, 32, 32))
        model = import_module(network, tmp_path / "resnet20.pt", options)
    singly = [images[i : i + 1] for i in range(4)]
    assert identical(model, *singly).shape == (1, 10)
    if engine == "x86" and mode == "eager":
        check_compiled(model, tmp_path, *singly)


SMALL = ImportOptions(input_shape=SHAPE)


def test_scripted_network(tmp_path: Path) -> None:
    model = FRONTEND.load(scripted(small_network(), tmp_path / "scripted.pt"), SMALL)
    assert model.arithmetic is Arithmetic.X86
    identical(model, np.random.default_rng(0).normal(size=(1, 3, 8, 8)).astype(np.float32))


def test_batch(tmp_path: Path) -> None:
    path = scripted(small_network(), tmp_path / "scripted.pt")
    model = FRONTEND.load(path, ImportOptions(batch=3, input_shape=(1, 3, 8, 8)))
    assert (model.batch, model.inputs[0].shape) == (3, (3, 3, 8, 8))
    identical(model, np.random.default_rng(0).normal(size=(3, 3, 8, 8)).astype(np.float32))
    with pytest.raises(UsageError, match="contradicts"):
        FRONTEND.load(path, ImportOptions(batch=2, input_shape=(3, 3, 8, 8)))


def test_control_flow_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="control flow depends on the values of its input"):
        FRONTEND.load(scripted(Branching(), tmp_path / "branching.pt"), SMALL)


def test_every_unsupported_operator_is_listed(tmp_path: Path) -> None:
    path = scripted(Odd(), tmp_path / "odd.pt")
    with pytest.raises(UnsupportedOperatorError) as caught:
        FRONTEND.load(path, SMALL)
    text = str(caught.value)
    assert "has 4 operators" in text
    assert "aten::cumsum ×1 | aten::erfinv ×2 | aten::roll ×1" in text
    assert "Warning" not in text


def test_places_of_the_highest_values_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedOperatorError, match="with the places of the highest values"):
        import_module(Places().eval(), tmp_path / "places.pt", SMALL)


def test_float_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is a float network"):
        import_module(torch.nn.Conv2d(3, 4, 3).eval(), tmp_path / "float.pt", SMALL)


def test_dynamic_quantization_is_refused(tmp_path: Path) -> None:
    with quantized_engine(Arithmetic.X86):
        network = torch.ao.quantization.quantize_dynamic(torch.nn.Sequential(torch.nn.Linear(8, 4)).eval())
        with pytest.raises(ModelError, match="quantized dynamically"):
            import_module(network, tmp_path / "dynamic.pt", SMALL)


@pytest.mark.parametrize("engine", ENGINES, ids=str)
def test_wrong_shape_is_refused(engine: Arithmetic, tmp_path: Path) -> None:
    path = scripted(small_network(), tmp_path / "scripted.pt")
    with pytest.raises(
        UsageError, match=r"\[1, 4, 8, 8\]: quantized::conv2d_relu of \[1, 4, 8, 8\] and \[8, 3, 3, 3\]"
    ):
        FRONTEND.load(path, ImportOptions(engine, input_shape=(1, 4, 8, 8)))
    with pytest.raises(UsageError, match="does not run on an input of float32"):
        FRONTEND.load(path, ImportOptions(engine, input_shape=(3, 8)))
    with pytest.raises(UsageError, match="--input-shape"):
        FRONTEND.load(path, ImportOptions(engine))


def test_other_files_are_refused(tmp_path: Path) -> None:
    network = small_network()
    path = tmp_path / "network.pt"
    torch.save(network.state_dict(), path)
    with pytest.raises(ModelError, match="state dict of"):
        FRONTEND.load(path, SMALL)
    torch.save(network, path)
    with pytest.raises(ModelError, match="neither TorchScript nor"):
        FRONTEND.load(path, SMALL)
    path.write_bytes(b"PK nothing of the kind")
    with pytest.raises(ModelError, match="neither TorchScript nor"):
        FRONTEND.load(path, SMALL)
    with pytest.raises(ModelError, match="does not exist"):
        FRONTEND.load(tmp_path / "nothing.pt", SMALL)
    scripted(network, path)
    path.write_bytes(path.read_bytes()[:-900])
    with pytest.raises(ModelError):
        FRONTEND.load(path, SMALL)


def test_another_frameworks_arithmetic_is_refused(tmp_path: Path) -> None:
    path = scripted(small_network(), tmp_path / "scripted.pt")
    with pytest.raises(UsageError, match="PyTorch has no arithmetic xnnpack"):
        FRONTEND.load(path, ImportOptions(Arithmetic.XNNPACK, input_shape=(1, 3, 8, 8)))

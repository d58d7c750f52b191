"""The quantized networks of torchvision, by name: TorchScript files made on demand and kept in the cache.

With the published weights where these can be had, otherwise with seeded random ones that PyTorch calibrates on the
pictures in `images`. Each comes with the record of how its images are prepared.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np

from autotune_qnn.build.manifest import file_sha256, settle
from autotune_qnn.errors import MissingDependencyError, ModelError, UsageError
from autotune_qnn.evaluation.preprocessing import Fit, ImageRecipe, Preprocessing
from autotune_qnn.zoo.download import DOWNLOAD_ERRORS, download, reason_of
from autotune_qnn.zoo.own_images import own_images

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
SEED = 0
_RECIPE_REVISION = 1
"""Raised whenever the same name would give another network than before, so that cached files are made again."""
_PUBLISHED_HASH = re.compile(r"-([0-9a-f]{8,})\.")
_LARGEST_SIDE = 4096


class Weights(StrEnum):
    """The value of --weights."""

    AUTO = "auto"  # the published ones, random ones where those cannot be had
    PRETRAINED = "pretrained"  # the published ones or an error
    RANDOM = "random"


@dataclass(frozen=True, slots=True)
class Network:
    """A network of torchvision.models.quantization: the engine that its published weights were made for, the side of
    the square image that it was trained on, and of the resized image that this is the centre of.
    """

    engine: str
    crop: int = 224
    resize: int = 256

    @property
    def recipe(self) -> ImageRecipe:
        """How its images are prepared."""
        return ImageRecipe(Fit.CROP, self.resize / self.crop, IMAGENET_MEAN, IMAGENET_STD)


NETWORKS = {
    "mobilenet_v2": Network("qnnpack"),
    "mobilenet_v3_large": Network("qnnpack"),
    "resnet18": Network("fbgemm"),
    "resnet50": Network("fbgemm", resize=232),
    "resnext101_32x8d": Network("fbgemm", resize=232),
    "resnext101_64x4d": Network("fbgemm", resize=232),
    "googlenet": Network("fbgemm"),
    "inception_v3": Network("fbgemm", crop=299, resize=342),
    "shufflenet_v2_x0_5": Network("fbgemm"),
    "shufflenet_v2_x1_0": Network("fbgemm"),
    "shufflenet_v2_x1_5": Network("fbgemm", resize=232),
    "shufflenet_v2_x2_0": Network("fbgemm", resize=232),
}
"""Every one of them, with torchvision's own record of engine and image sizes."""
DEFAULT_NETWORK = "mobilenet_v2"


@dataclass(frozen=True, slots=True)
class ZooModel:
    """A network as a file: `engine` is what it was quantized for, `weights` says in a few words what they are,
    `trained` whether its classes mean anything; `notice` is what the user has to be told, or empty.
    """

    file: Path
    input_shape: tuple[int, int, int, int]
    engine: str
    recipe: ImageRecipe
    weights: str
    trained: bool
    notice: str


def is_network(name: str) -> bool:
    """Whether `name`, with or without torchvision's prefix "quantized_", is one of the networks."""
    return name.removeprefix("quantized_") in NETWORKS


def torchvision_network(
    name: str,
    cache: Path,
    *,
    weights: Weights = Weights.AUTO,
    engine: str | None = None,
    input_shape: tuple[int, ...] | None = None,
    batch: int = 1,
) -> ZooModel:
    """The network as a TorchScript file below `cache`, made there unless an earlier call has done so.

    Random weights are quantized for `engine`, by default the one of the published weights; `input_shape` is NCHW, by
    default `batch` images of the size that the network was trained on. UsageError for an unknown name or a shape that
    cannot be, ModelError where the weights that are asked for cannot be had, MissingDependencyError without PyTorch.
    """
    name = name.removeprefix("quantized_")
    if name not in NETWORKS:
        raise UsageError(f"there is no network {name!r}; torchvision has {', '.join(NETWORKS)}")
    shape = _shape(NETWORKS[name], input_shape, batch)
    networks = _networks()
    reason = "" if weights is Weights.RANDOM else _fetch(networks, name)
    if reason and weights is Weights.PRETRAINED:
        raise ModelError(f"the published weights of {name} cannot be had: {reason}")
    trained = weights is not Weights.RANDOM and not reason
    made_for = NETWORKS[name].engine if trained else engine or NETWORKS[name].engine
    file = _cached(networks, name, made_for, trained, shape, cache)
    about = (
        "published by torchvision"
        if trained
        else f"random, seed {SEED}, calibrated on the project's own pictures"
    )
    return ZooModel(
        file, shape, made_for, NETWORKS[name].recipe, about, trained, _notice(name, reason) if reason else ""
    )


def _networks() -> Any:
    """The module that makes networks with PyTorch, imported only now."""
    try:
        from autotune_qnn.frontends.pytorch import networks
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"torchvision's networks need the package {error.name}, which is not installed; "
            "run: pip install 'autotune_qnn[pytorch]'"
        ) from error
    return networks


def _shape(network: Network, given: tuple[int, ...] | None, batch: int) -> tuple[int, int, int, int]:
    shape = given or (batch, 3, network.crop, network.crop)
    if len(shape) != 4 or shape[1] != 3 or not all(1 <= extent <= _LARGEST_SIDE for extent in shape):
        raise UsageError(
            f"torchvision's networks take batch,3,height,width, each from 1 to {_LARGEST_SIDE}, "
            f"not {','.join(map(str, shape))}"
        )
    return shape[0], shape[1], shape[2], shape[3]


def _fetch(networks: Any, name: str) -> str:
    """Have the published weights where torch looks for them; why that failed, or nothing."""
    published = networks.published_weights(name)
    if published.file.is_file():
        return ""
    named = _PUBLISHED_HASH.search(published.file.name)
    try:
        published.file.parent.mkdir(parents=True, exist_ok=True)
        download(published.url, published.file, sha256_prefix=named.group(1) if named else "")
    except DOWNLOAD_ERRORS as error:
        return (
            f"{published.url} cannot be downloaded ({reason_of(error)}), and {published.file} does not exist"
        )
    return ""


def _cached(
    networks: Any, name: str, engine: str, trained: bool, shape: tuple[int, ...], cache: Path
) -> Path:
    ingredients = [name, engine, str(shape), str(_RECIPE_REVISION), networks.versions()]
    if trained:
        ingredients.append(file_sha256(networks.published_weights(name).file))
    else:
        ingredients += [str(SEED), *map(file_sha256, own_images())]
    digest = hashlib.sha256("\n".join(ingredients).encode()).hexdigest()[:16]
    file = cache / "torchvision" / digest / f"{name}_{'pretrained' if trained else f'random_{engine}'}.pt"
    if file.is_file():
        return file
    if trained:
        module = networks.pretrained(name)
    else:
        module = networks.random_weighted(name, engine, _pictures(name, shape), seed=SEED)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=file.parent) as folder:
            _save(module, shape, Path(folder) / file.name)
            settle(Path(folder) / file.name, file)
    except (OSError, RuntimeError) as error:
        raise ModelError(f"{file} cannot be written: {error}") from error
    return file


def _save(module: Any, shape: tuple[int, ...], path: Path) -> None:
    """Write a network as TorchScript."""
    from autotune_qnn.frontends.pytorch.files import save_module

    save_module(module, shape, path)


def _pictures(name: str, shape: tuple[int, ...]) -> Any:
    """The project's own pictures as inputs, float32 [pictures, 3, height, width]."""
    steps = Preprocessing.for_input((1, *shape[1:]), "float32", NETWORKS[name].recipe)
    return np.stack([steps.load(path) for path in own_images()])


def _notice(name: str, reason: str) -> str:
    rule = "*" * 100
    return (
        f"{rule}\nNo published weights: {reason}.\n{name} gets RANDOM weights instead (seed {SEED}, calibrated on the "
        "project's own pictures):\nits classes mean nothing; agreement with PyTorch is reported instead of accuracy."
        f"\n--weights pretrained insists on the published ones, --weights random does without this notice.\n{rule}"
    )

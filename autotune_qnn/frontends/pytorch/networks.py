"""The networks of torchvision.models.quantization: with the published weights, or with seeded random ones that PyTorch
quantizes here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import numpy as np
import torch

from autotune_qnn.errors import ModelError
from autotune_qnn.frontends.base import Array
from autotune_qnn.frontends.pytorch.capture import Module
from autotune_qnn.frontends.pytorch.engines import checked_engine
from autotune_qnn.frontends.pytorch.torch_runtime import (
    LOAD_ERRORS,
    first_line,
    one_thread,
    quantized_engine,
    quietly,
)
from autotune_qnn.frontends.pytorch.torchvision_shim import import_torchvision
from autotune_qnn.quantization import Arithmetic

_ONLY_TENSORS = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
_TRANSFORMING = frozenset({"googlenet", "inception_v3"})


@dataclass(frozen=True, slots=True)
class PublishedWeights:
    """The integers that torchvision publishes for a network, where torch keeps them once they are downloaded,
    and the engine that they were made for.
    """

    url: str
    file: Path
    engine: str


def published_weights(name: str) -> PublishedWeights:
    """torchvision's default quantized weights of a network."""
    import_torchvision()
    from torchvision.models import get_model_weights

    weights = get_model_weights(f"quantized_{name}").DEFAULT
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    return PublishedWeights(
        weights.url, folder / Path(urlparse(weights.url).path).name, str(weights.meta["backend"])
    )


def pretrained(name: str) -> Module:
    """The network with the published integers, quantized by torchvision, once `published_weights(name).file`
    is there. Only tensors are read from that file: no code in it runs. ModelError where it does not fit.
    """
    import_torchvision()
    from torchvision.models import get_model_weights
    from torchvision.models import quantization as builders

    file = published_weights(name).file
    try:
        with quietly(), _environment(_ONLY_TENSORS, "1"):
            weights = get_model_weights(f"quantized_{name}").DEFAULT
            return getattr(builders, name)(weights=weights, quantize=True, progress=False).eval()
    except LOAD_ERRORS as error:
        raise ModelError(f"{file} does not hold torchvision's {name}: {first_line(error)}") from error


def random_weighted(name: str, engine: str, images: Array, *, seed: int = 0) -> Module:
    """The network with seeded random weights, quantized for `engine` (one of PyTorch's) by what it does on
    `images`, float32 [at least 2, 3, height, width].

    Its batch norms first take the statistics of the images, so that activations keep their scale through any
    depth. UsageError for an engine that PyTorch does not have, ModelError where this build lacks it.
    """
    return quantized(calibrated(lambda: float_network(name), images, seed=seed), engine, images)


def calibrated(build: Callable[[], Module], images: Array, *, seed: int = 0) -> Module:
    """The float network that `build` makes with seeded random weights, in which every batch norm has the statistics of
    `images`.
    """
    with quietly(), one_thread(), torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        module = build()
        _set_statistics(module, _tensor(images))
    return module


def quantized(module: Module, engine: str, images: Array) -> Module:
    """`module`, a float network with `fuse_model` as torchvision's have it, quantized in place for `engine` by what it
    does on `images`. UsageError and ModelError as for `random_weighted`.
    """
    with quietly(), quantized_engine(checked_engine(Arithmetic(engine))), one_thread(), torch.no_grad():
        _quantize(module, engine, _tensor(images))
    return module


def versions() -> str:
    """The versions that decide what a network made here looks like: "torch 2.13.0, torchvision 0.28.0"."""
    return f"torch {torch.__version__}, torchvision {import_torchvision().__version__}"


def float_network(name: str) -> Module:
    """torchvision's network with random weights, in float and ready to be quantized."""
    import_torchvision()
    from torchvision.models import quantization as builders

    # What torchvision sets where these two come with published weights.
    options: dict[str, Any] = {}
    if name in _TRANSFORMING:
        options = {"transform_input": True, "aux_logits": False, "init_weights": True}
    return getattr(builders, name)(weights=None, quantize=False, **options).eval()


def _tensor(images: Array) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(images, np.float32))


def _set_statistics(module: Module, batch: torch.Tensor) -> None:
    """One pass in which every batch norm normalizes by the batch, and keeps its mean and variance."""
    norms = [part for part in module.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    module(batch)
    module.eval()


def _quantize(module: Module, engine: str, batch: torch.Tensor) -> None:
    from torch.ao import quantization

    module.fuse_model(is_qat=False)
    module.qconfig = quantization.get_default_qconfig(engine)
    quantization.prepare(module, inplace=True)
    for image in batch.split(1):
        module(image)
    quantization.convert(module, inplace=True)


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before

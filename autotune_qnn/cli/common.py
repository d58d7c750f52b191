"""What several subcommands do: read a model and a target, state a log's conditions."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
from dataclasses import dataclass
from pathlib import Path

import autotune_qnn
from autotune_qnn.cli.images import chosen_recipe
from autotune_qnn.cli.terminal import say
from autotune_qnn.engines.relax.target import TargetSpec
from autotune_qnn.errors import ModelError, TargetError, UsageError
from autotune_qnn.evaluation.preprocessing import Fit, ImageRecipe
from autotune_qnn.frontends import get_frontend
from autotune_qnn.frontends.base import Frontend, ImportedModel, ImportOptions
from autotune_qnn.frontends.tflite.archive import cache_folder
from autotune_qnn.host import core_list, cpu_model, frequency_note
from autotune_qnn.logs import LogHeader
from autotune_qnn.logs.pool import RecordPool, shipped_logs
from autotune_qnn.quantization import Arithmetic
from autotune_qnn.tuning.measure import runner_cores
from autotune_qnn.zoo.own_images import own_images
from autotune_qnn.zoo.torchvision import (
    DEFAULT_NETWORK,
    IMAGENET_MEAN,
    IMAGENET_STD,
    NETWORKS,
    Weights,
    is_network,
    torchvision_network,
)
from autotune_qnn.zoo.tutorial import tutorial_model


@dataclass(frozen=True)
class Source:
    """An imported model, its frontend, and what is known about it beside its file.

    `recipe` is how it takes images; `weights` says what they are where the project chose them, and `trained` whether
    its classes mean anything; `pictures` are images to compare outputs on in any case.
    """

    frontend: Frontend
    model: ImportedModel
    recipe: ImageRecipe
    weights: str | None = None
    trained: bool = True
    pictures: tuple[Path, ...] = ()


def import_model(arguments: argparse.Namespace) -> Source:
    """The model that the options name, imported. What has to be told about it goes to stderr."""
    if not 1 <= arguments.batch <= 4096:
        raise UsageError(f"--batch has to be from 1 to 4096, not {arguments.batch}")
    if arguments.model == "":
        raise UsageError(
            "--model is empty; name a model, or leave the option out for the frontend's MobileNetV2"
        )
    if arguments.frontend == "pytorch":
        return _import_pytorch(arguments)
    if arguments.weights != Weights.AUTO:
        raise UsageError("--weights is for torchvision's networks: --frontend pytorch")
    frontend = get_frontend(arguments.frontend)
    path = Path(arguments.model) if arguments.model else tutorial_model(arguments.frontend, cache_folder())
    model = frontend.load(path, _import_options(arguments, arguments.input_shape))
    return Source(frontend, model, chosen_recipe(arguments, ImageRecipe()))


def _import_pytorch(arguments: argparse.Namespace) -> Source:
    """A file, or a network of torchvision: a file of the same name goes first."""
    frontend = get_frontend("pytorch")
    name = arguments.model or DEFAULT_NETWORK
    if not is_network(name) or Path(name).is_file():
        if arguments.weights != Weights.AUTO:
            raise UsageError(f"--weights is for torchvision's networks, and {name} is none of them")
        if not Path(name).exists():
            raise ModelError(
                f"there is no file {name}, and no quantized network of torchvision is called so: {', '.join(NETWORKS)}"
            )
        model = frontend.load(Path(name), _import_options(arguments, arguments.input_shape))
        imagenet = ImageRecipe(Fit.RESIZE, mean=IMAGENET_MEAN, std=IMAGENET_STD)
        return Source(frontend, model, chosen_recipe(arguments, imagenet))
    network = torchvision_network(
        name,
        cache_folder(),
        weights=Weights(arguments.weights),
        engine=arguments.arithmetic,
        input_shape=arguments.input_shape,
        batch=arguments.batch,
    )
    if network.notice:
        say(network.notice)
    options = _import_options(
        arguments, network.input_shape, default=Arithmetic(network.engine), trusted=True
    )
    return Source(
        frontend,
        frontend.load(network.file, options),
        chosen_recipe(arguments, network.recipe),
        network.weights,
        network.trained,
        own_images(),
    )


def _import_options(
    arguments: argparse.Namespace,
    shape: tuple[int, ...] | None,
    *,
    default: Arithmetic | None = None,
    trusted: bool = False,
) -> ImportOptions:
    arithmetic = Arithmetic(arguments.arithmetic) if arguments.arithmetic else default
    return ImportOptions(arithmetic=arithmetic, batch=arguments.batch, input_shape=shape, trusted=trusted)


def parse_target(text: str, *, to_run: bool) -> TargetSpec:
    """The target that the options name. With `to_run`, TargetError where this machine cannot run its code."""
    target = TargetSpec.parse(text)
    reason = target.runs_here() if to_run else None
    if reason is not None:
        raise TargetError(
            f"code for {target.canonical!r} cannot run here: {reason}; choose another target, or only build for it"
        )
    return target


def log_header(arguments: argparse.Namespace, target: TargetSpec, model: ImportedModel) -> LogHeader:
    """The conditions under which this run measures."""
    return LogHeader(
        target=target.canonical,
        tvm_version=importlib.metadata.version("apache-tvm"),
        cpu=cpu_model(),
        threads=arguments.threads,
        package_version=autotune_qnn.__version__,
        model=model.name,
        arithmetic=model.arithmetic.value,
        pinning=_pinning(arguments.threads),
        frequency=frequency_note(),
    )


def _pinning(threads: int) -> str:
    cores = frozenset(os.sched_getaffinity(0))
    used = core_list(frozenset(runner_cores(cores, threads)))
    return f"kernels on cores {used} of {core_list(cores)}"


def open_pool(log_dir: Path, target: TargetSpec, header: LogHeader, own: Path | None = None) -> RecordPool:
    """Every other log that may help: of this folder, and of those that the project ships. Kernels are the same for
    all targets of one instruction set. What is fast is taken to be the same on all CPUs that begin as many products in
    a cycle as the target's CPU does, or, where it runs the target's code, this one (`header.cpu`).
    """
    rates = {target.dot.rate}
    if target.runs_here() is None:
        rates.add(target.rate_on(header.cpu))

    def usable(text: str) -> bool:
        try:
            return text == target.canonical or TargetSpec.parse(text).isa is target.isa
        except TargetError:
            return False

    def alike(cpu: str) -> bool:
        return target.rate_on(cpu) in rates

    shipped = shipped_logs()
    return RecordPool.open([log_dir, *([shipped] if shipped else [])], header, usable, alike, own)


def check_threads(threads: int) -> None:
    """Raise UsageError for a number of threads that cannot be."""
    if not 1 <= threads <= 1024:
        raise UsageError(f"--threads has to be from 1 to 1024, not {threads}")

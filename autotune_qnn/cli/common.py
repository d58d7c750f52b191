"""What several subcommands do: read a model and a target, state a log's conditions."""

from __future__ import annotations

import argparse
import importlib.metadata

import autotune_qnn
from autotune_qnn.engines.relax.target import TargetSpec
from autotune_qnn.errors import TargetError, UsageError
from autotune_qnn.frontends import get_frontend
from autotune_qnn.frontends.base import Frontend, ImportedModel, ImportOptions
from autotune_qnn.frontends.tflite.archive import cache_folder
from autotune_qnn.host import cpu_model
from autotune_qnn.logs import LogHeader
from autotune_qnn.quantization import Arithmetic
from autotune_qnn.zoo.tutorial import tutorial_model


def import_model(arguments: argparse.Namespace) -> tuple[Frontend, ImportedModel]:
    """The model that the options name, imported, and its frontend."""
    if not 1 <= arguments.batch <= 1 << 16:
        raise UsageError(f"--batch has to be from 1 to 65536, not {arguments.batch}")
    frontend = get_frontend(arguments.frontend)
    path = arguments.model
    if path is None:
        path = tutorial_model(arguments.frontend, cache_folder())
    options = ImportOptions(arithmetic=Arithmetic(arguments.arithmetic), batch=arguments.batch)
    return frontend, frontend.load(path, options)


def parse_target(text: str, *, to_run: bool) -> TargetSpec:
    """The target that the options name. With `to_run`, TargetError where this machine cannot run its code."""
    target = TargetSpec.parse(text)
    reason = target.runs_here() if to_run else None
    if reason is not None:
        raise TargetError(
            f"code for {target.canonical!r} cannot run here: {reason}; "
            "choose another target, or only build for it"
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
    )


def check_threads(threads: int) -> None:
    """Raise UsageError for a number of threads that cannot be."""
    if not 1 <= threads <= 1024:
        raise UsageError(f"--threads has to be from 1 to 1024, not {threads}")

"""`autotune-qnn doctor`: whether this machine and installation can import, tune, build and run."""

from __future__ import annotations

import argparse
import functools
import importlib.metadata
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from autotune_qnn.build.linker import find_linker
from autotune_qnn.cli.main import check_ffi
from autotune_qnn.cli.terminal import show
from autotune_qnn.errors import (
    AutotuneQnnError,
    BuildError,
    LogStoreError,
    MissingDependencyError,
    UsageError,
)
from autotune_qnn.host import TILE_FLAGS, cpu_model, host_flags, tiles_refused

_REQUIRED = (
    "apache-tvm",
    "apache-tvm-ffi",
    "xgboost-cpu",
    "numpy",
    "pillow",
    "tqdm",
    "cloudpickle",
    "psutil",
)
_OPTIONAL = {
    "tflite": "the TFLite frontend",
    "ai-edge-litert": "TFLite's own results and latency",
    "torch": "the PyTorch frontend",
    "torchvision": "torchvision's networks",
    "torchao": "exported programs of PyTorch",
}
_STORE_A_MODULE = """
import tvm
from tvm import relax
builder = relax.BlockBuilder()
value = relax.Var("x", relax.TensorType((2,), "int8"))
with builder.function("main", [value]):
    with builder.dataflow():
        result = builder.emit_output(builder.emit(relax.op.add(value, value)))
    builder.emit_func_output(result)
module = tvm.ir.load_json(tvm.ir.save_json(builder.get()))
assert [str(name.name_hint) for name in module.functions] == ["main"]
"""
_CHILD_TIMEOUT_S = 120


@dataclass(frozen=True, slots=True)
class Check:
    """One thing to look at: `look` gives what it found, or raises."""

    name: str
    look: Callable[[], str]
    optional: bool = False


def run(arguments: argparse.Namespace) -> int:
    """Print one line a check; the exit code is that of the first required one that fails."""
    code = 0
    for check in _checks(arguments.target, arguments.log_dir):
        try:
            show(f"ok    {check.name}: {check.look()}")
        except AutotuneQnnError as error:
            show(f"{'warn ' if check.optional else 'FAIL '} {check.name}: {error}")
            if not check.optional:
                code = code or error.exit_code
    return code


def _checks(target: str, log_dir: Path) -> list[Check]:
    checks = [Check("python", _python), Check("cpu", cpu_model)]
    checks += [Check(name, functools.partial(_version, name)) for name in _REQUIRED]
    checks += [
        Check(name, functools.partial(_version, name, use), optional=True) for name, use in _OPTIONAL.items()
    ]
    checks += [
        Check("tvm-ffi pin", _ffi_pin),
        Check("storing a module", _stores_modules),
        Check("linker", find_linker),
        Check("target", lambda: _target(target)),
        Check("log folder", lambda: _log_folder(log_dir)),
    ]
    return checks


def _python() -> str:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] < (3, 11) or sys.platform != "linux":
        raise UsageError(f"Python 3.11 or newer on Linux is needed, this is {version} on {sys.platform}")
    return f"{version}, {sys.executable}"


def _version(name: str, use: str = "") -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        purpose = f", needed for {use}" if use else ""
        extra = " pytorch" if name.startswith("torch") else ""
        raise MissingDependencyError(f"not installed{purpose}; run scripts/setup{extra}") from None


def _ffi_pin() -> str:
    check_ffi()
    return "a version that can store modules"


def _stores_modules() -> str:
    """In a process of its own, since what goes wrong here is a segmentation fault."""
    try:
        child = subprocess.run(
            [sys.executable, "-c", _STORE_A_MODULE],
            capture_output=True,
            timeout=_CHILD_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise BuildError(f"TVM did not answer within {_CHILD_TIMEOUT_S} s") from None
    if child.returncode < 0:
        raise BuildError(f"TVM died of {signal.Signals(-child.returncode).name} in tvm.ir.save_json")
    if child.returncode:
        lines = child.stderr.decode(errors="replace").strip().splitlines()
        raise BuildError(f"TVM failed: {lines[-1] if lines else 'without a word'}")
    return "saved and loaded"


def _target(text: str) -> str:
    try:
        from autotune_qnn.engines.relax.target import TargetSpec
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"the package {error.name} is not installed; run scripts/setup"
        ) from None
    spec = TargetSpec.parse(text)
    reason = spec.runs_here()
    said = f"{spec.canonical}, kernels for {spec.isa.value}"
    if reason:
        return f"{said}; cannot run here: {reason}"
    refused = tiles_refused() if host_flags() >= TILE_FLAGS else None
    return f"{said}; without this CPU's tiles: {refused}" if refused else said


def _log_folder(folder: Path) -> str:
    """Writes and removes a file in the folder, or in the nearest folder above it that exists."""
    place = folder.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"x")
            file.flush()
    except OSError as error:
        raise LogStoreError(
            f"{folder} cannot be written: {error.strerror}; choose another with --log-dir"
        ) from None
    return f"{folder} can be written"

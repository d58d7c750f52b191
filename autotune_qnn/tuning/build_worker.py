"""What a builder process does: a scheduled module in, a shared library out."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tvm

from autotune_qnn.transforms.tir_pipeline import compile_kernel


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """A candidate to compile: `module` as TVM's JSON, `target` as JSON, and where the library goes."""

    module: str
    target: str
    library: str


@functools.lru_cache(maxsize=4)
def _target(text: str) -> Any:
    return tvm.target.Target(json.loads(text))


@functools.cache
def _linker() -> str | None:
    return shutil.which("ld")


def export(library: Any, path: Path) -> None:
    """Write a loadable library: the object file through the linker alone, which takes a twentieth of the
    time that a compiler driver takes; through TVM's own export where that is not enough.
    """
    linker = _linker()
    if linker is None or library.kind != "llvm" or len(library.imports) > 0:
        library.export_library(str(path))
        return
    unit = path.with_suffix(".o")
    library.write_to_file(str(unit), "o")
    command = [linker, "-shared", "-o", str(path), str(unit)]
    linked = subprocess.run(command, capture_output=True, text=True, check=False)
    unit.unlink(missing_ok=True)
    if linked.returncode != 0:
        library.export_library(str(path))


def handle(request: BuildRequest) -> str:
    """Build the library and return its path; any exception is the candidate's compile error."""
    module = tvm.ir.load_json(request.module)
    export(compile_kernel(module, _target(request.target)), Path(request.library))
    return request.library

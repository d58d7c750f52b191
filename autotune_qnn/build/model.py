"""From an imported model to a library on disk, with the best schedules that a log holds."""

from __future__ import annotations

import datetime
import importlib.metadata
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import autotune_qnn
from autotune_qnn.build.history import History, scheduled_by
from autotune_qnn.build.linker import find_linker, first_reason
from autotune_qnn.build.manifest import (
    Manifest,
    TensorSpec,
    file_sha256,
    manifest_path,
    settle,
    write_whole,
)
from autotune_qnn.build.tile_permission import write_source
from autotune_qnn.engines import relax
from autotune_qnn.engines.relax.target import TargetSpec
from autotune_qnn.errors import BuildError
from autotune_qnn.frontends.base import ImportedModel, TensorInfo
from autotune_qnn.kernels.isa import Isa
from autotune_qnn.tuning.trust import TraceChecker


@dataclass(frozen=True, slots=True)
class Built:
    """A library on disk and its manifest, which holds the coverage."""

    library: Path
    manifest: Manifest


def build_model(
    imported: ImportedModel,
    target: TargetSpec,
    history: History,
    threads: int,
    library: Path,
    lowered: relax.LoweredModule | None = None,
    images: Mapping[str, Any] | None = None,
) -> Built:
    """Build `imported` for `target` with the best of `history` and write the library and its manifest.

    `lowered` saves lowering again where it was done before for the same model, target and threads; `images` is a record
    of how images become inputs, kept in the manifest. Raises
    BuildError where compilation or writing fails; what was at `library` before then stays.
    """
    lowered = lowered or relax.lower(imported.mod, target, threads)
    with TraceChecker() as checker:
        module, coverage = relax.apply_best(lowered, scheduled_by(history, checker))
    executable = relax.compile_module(module, target)
    try:
        library.parent.mkdir(parents=True, exist_ok=True)
        _export(executable, library, target)
        manifest = _manifest(imported, target, threads, library, coverage, images)
        write_whole(manifest_path(library), manifest.to_json().encode())
    except OSError as error:
        raise BuildError(f"{library} cannot be written: {error.strerror or error}") from None
    return Built(library, manifest)


def _manifest(
    imported: ImportedModel,
    target: TargetSpec,
    threads: int,
    library: Path,
    coverage: relax.Coverage,
    images: Mapping[str, Any] | None,
) -> Manifest:
    """What is recorded of a library that has been written."""
    return Manifest(
        model=imported.name,
        frontend=imported.frontend,
        source_sha256=imported.sha256,
        arithmetic=imported.arithmetic.value,
        batch=imported.batch,
        target=target.canonical,
        needed_flags=target.needed_flags,
        threads=threads,
        library=library.name,
        library_sha256=file_sha256(library),
        inputs=_tensors(imported.inputs),
        outputs=_tensors(imported.outputs),
        tuned=coverage.tuned,
        fallback=coverage.fallback,
        missing=coverage.missing,
        versions=tuple(sorted(versions().items())),
        created=now(),
        images=images,
    )


def versions() -> dict[str, str]:
    """The versions of this package and of what it compiles with."""
    names = ("apache-tvm", "apache-tvm-ffi", "numpy")
    return {
        "autotune-qnn": autotune_qnn.__version__,
        **{name: importlib.metadata.version(name) for name in names},
    }


def now() -> str:
    """The time, UTC, in ISO 8601 to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _export(executable: Any, library: Path, target: TargetSpec) -> None:
    """Link into a folder beside the destination, then move the finished file there in one step."""
    find_linker()
    with tempfile.TemporaryDirectory(dir=library.parent, prefix=f".{library.name}.") as folder:
        temporary = Path(folder) / "library.so"
        sources = [str(write_source(Path(folder)))] if target.isa is Isa.AMX_INT8 else []
        try:
            executable.export_library(str(temporary), addons=sources)
        except RuntimeError as error:
            raise BuildError(f"{library} could not be linked: {first_reason(str(error))}") from error
        settle(temporary, library)


def _tensors(infos: Sequence[TensorInfo]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(i.name, i.shape, i.dtype, i.scale, i.zero_point) for i in infos)

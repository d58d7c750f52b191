"""What is written beside an exported library: where it came from, what it needs, what goes in and out.

Imports neither TVM nor a framework, so that a loader with only TVM's runtime can read it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autotune_qnn.errors import BuildError

FORMAT_VERSION = 1
SUFFIX = ".manifest.json"
_LARGEST = 1 << 20
_DTYPES = frozenset({"int8", "uint8", "int16", "int32", "int64", "float32", "float64", "bool"})


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """An input or output, with its quantization where it has one: real = scale·(q − zero_point)."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None = None
    zero_point: int | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything known about one exported library. `needed_flags` are /proc/cpuinfo's names; `images` is the model's
    record of how images become its inputs, where it has one.
    """

    model: str
    frontend: str
    source_sha256: str
    arithmetic: str
    batch: int
    target: str
    needed_flags: tuple[str, ...]
    threads: int
    library: str
    library_sha256: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    tuned: int
    fallback: int
    missing: int
    versions: tuple[tuple[str, str], ...]
    created: str
    images: Mapping[str, Any] | None = None
    format_version: int = FORMAT_VERSION

    def to_json(self) -> str:
        """The file's text: an object with these fields, coverage and versions as objects of their own."""
        data = dataclasses.asdict(self)
        data["coverage"] = {name: data.pop(name) for name in ("tuned", "fallback", "missing")}
        data["versions"] = dict(self.versions)
        return json.dumps(data, indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str, where: Path) -> Manifest:
        """Read what `to_json` wrote. Raises BuildError, naming the file and the field, on anything else."""
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise BuildError(f"{where} is not a manifest: {error}") from None
        if not isinstance(data, dict) or data.get("format_version") != FORMAT_VERSION:
            found = data.get("format_version") if isinstance(data, dict) else None
            raise BuildError(f"{where} has format version {found!r}; this package reads {FORMAT_VERSION}")
        try:
            return cls(**_fields(data))
        except (KeyError, TypeError, ValueError) as error:
            raise BuildError(f"{where} is not a manifest of this package: {error}") from None


def _fields(data: Mapping[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name in (
        "model",
        "frontend",
        "source_sha256",
        "arithmetic",
        "target",
        "library",
        "library_sha256",
        "created",
    ):
        fields[name] = _typed(data, name, str)
    for name in ("batch", "threads"):
        fields[name] = _typed(data, name, int)
    coverage = _typed(data, "coverage", dict)
    fields |= {name: _typed(coverage, name, int) for name in ("tuned", "fallback", "missing")}
    fields["needed_flags"] = tuple(str(flag) for flag in _typed(data, "needed_flags", list))
    fields["versions"] = tuple(sorted((str(k), str(v)) for k, v in _typed(data, "versions", dict).items()))
    fields["images"] = None if data.get("images") is None else _typed(data, "images", dict)
    for name in ("inputs", "outputs"):
        fields[name] = tuple(_tensor(entry) for entry in _typed(data, name, list))
    return fields


def _typed(data: Mapping[str, Any], name: str, kind: type) -> Any:
    if name not in data:
        raise ValueError(f"{name} is missing")
    if not isinstance(data[name], kind) or isinstance(data[name], bool):
        raise ValueError(f"{name} is not of type {kind.__name__}")
    return data[name]


def _tensor(entry: Any) -> TensorSpec:
    dtype = _typed(entry, "dtype", str)
    shape = tuple(_typed(entry, "shape", list))
    if dtype not in _DTYPES or not all(isinstance(extent, int) and 0 < extent < 1 << 31 for extent in shape):
        raise ValueError(f"a tensor of type {dtype} and shape {shape} cannot be")
    scale, zero_point = entry.get("scale"), entry.get("zero_point")
    return TensorSpec(
        _typed(entry, "name", str),
        shape,
        dtype,
        None if scale is None else float(scale),
        None if zero_point is None else int(zero_point),
    )


def manifest_path(library: Path) -> Path:
    """Where the manifest of a library stands: "net.so" → "net.so.manifest.json"."""
    return library.with_name(library.name + SUFFIX)


def read_manifest(library: Path) -> Manifest:
    """The manifest beside a library, checked against the library's contents.

    Raises BuildError where either is missing or they do not belong together.
    """
    path = manifest_path(library)
    if not library.is_file():
        raise BuildError(f"there is no library {library}")
    try:
        if path.stat().st_size > _LARGEST:
            raise BuildError(f"{path} is too large to be a manifest")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise BuildError(f"{library} has no manifest: {path} is missing; build it again") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BuildError(f"{path} cannot be read: {error}") from None
    manifest = Manifest.from_json(text, path)
    if file_sha256(library) != manifest.library_sha256:
        raise BuildError(
            f"{library} is not the library that {path} describes: its hash differs; build it again"
        )
    return manifest


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's contents, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that any reader, even after a crash, sees the old or the new contents whole."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        settle(Path(name), path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def settle(temporary: Path, path: Path) -> None:
    """Flush a finished temporary file to the disk and give it its name and a new file's usual rights."""
    umask = os.umask(0)
    os.umask(umask)
    temporary.chmod(0o666 & ~umask)
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)

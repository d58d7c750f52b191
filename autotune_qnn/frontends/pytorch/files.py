"""Files of PyTorch networks: what kind they are, loading and writing them.

A TorchScript file brings its own code, which runs when it is loaded and called. Everything else that PyTorch saves is
a pickle: of that only tensors are ever read here.
"""

from __future__ import annotations

import hashlib
import logging
import zipfile
from enum import Enum, auto
from pathlib import Path
from typing import Any

import torch

from autotune_qnn.errors import ModelError
from autotune_qnn.frontends.pytorch.capture import Module
from autotune_qnn.frontends.pytorch.torch_runtime import LOAD_ERRORS, first_line, quietly

_LOGGER = logging.getLogger(__name__)
_ARCHIVE = b"PK\x03\x04"
"""How every archive begins."""


class FileKind(Enum):
    """What a file of PyTorch holds."""

    TORCHSCRIPT = auto()
    EXPORTED = auto()
    PICKLE = auto()


def file_kind(path: Path) -> FileKind:
    """What the file at `path` holds, told by its members. ModelError where it cannot be read."""
    if not path.is_file():
        raise ModelError(f"{path} is not a file" if path.exists() else f"{path} does not exist")
    try:
        with path.open("rb") as stream:
            archived = stream.read(len(_ARCHIVE)) == _ARCHIVE
        if not zipfile.is_zipfile(path):
            if archived:
                raise ModelError(f"{path} is damaged: it begins like an archive of PyTorch and has no end")
            return FileKind.PICKLE
        with zipfile.ZipFile(path) as archive:
            names = [name.split("/", 1)[-1] for name in archive.namelist()]
    except (zipfile.BadZipFile, OSError) as error:
        raise ModelError(f"{path} cannot be read: {error}") from error
    if "constants.pkl" in names and any(name.startswith("code/") for name in names):
        return FileKind.TORCHSCRIPT
    exported = ("serialized_exported_program.json", "archive_format")
    if any(name in exported or name.startswith("models/") for name in names):
        return FileKind.EXPORTED
    return FileKind.PICKLE


def load_torchscript(path: Path, *, trusted: bool = False) -> Module:
    """The network in a TorchScript file, packed for the engine that is set. Says on the log that code will run,
    unless it is trusted.

    ModelError where it cannot be loaded.
    """
    if not trusted:
        _LOGGER.warning("%s brings its own code, which runs now: load only files that you trust", path)
    try:
        with quietly():
            return torch.jit.load(str(path), map_location="cpu").eval()
    except LOAD_ERRORS as error:
        raise ModelError(f"{path} cannot be loaded as TorchScript: {first_line(error)}") from error


def save_module(module: Module, shape: tuple[int, ...], path: Path) -> None:
    """Writes a quantized module (eager or FX) as TorchScript, traced for a float32 input of `shape`.

    ModelError where PyTorch cannot trace or write it.
    """
    try:
        with quietly(), torch.no_grad():
            traced = torch.jit.trace(module.eval(), torch.zeros(shape), check_trace=False)
            torch.jit.save(traced, str(path))
    except (RuntimeError, ValueError, TypeError, OSError) as error:
        raise ModelError(f"the module cannot be traced: {first_line(error)}") from error


def load_state_dict(path: Path) -> dict[str, Any]:
    """The tensors of a saved state dict; no code in it runs. ModelError where it holds anything else."""
    try:
        with quietly():
            content = torch.load(path, map_location="cpu", weights_only=True)
    except LOAD_ERRORS as error:
        raise ModelError(f"{path} cannot be read as a state dict: {first_line(error)}") from error
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise ModelError(f"{path} holds a {type(content).__name__}, not a state dict")
    return content  # as it is: it carries the versions of its parts as an attribute


def no_network(path: Path) -> ModelError:
    """Why a file that is neither TorchScript nor an exported program cannot be imported."""
    try:
        entries = len(load_state_dict(path))
    except ModelError:
        return ModelError(
            f"{path} holds neither TorchScript nor an exported program; save the network with torch.jit.save "
            "(of a whole pickled module nothing is loaded: it could run any code)"
        )
    return ModelError(
        f"{path} holds a state dict of {entries} entries, that is numbers without a network; "
        "load it into its network and save that with torch.jit.trace and torch.jit.save"
    )


def file_hash(path: Path) -> str:
    """The file's SHA-256, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()

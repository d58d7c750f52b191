"""Finds the one `.tflite` file in what `--model` names: the file itself, or a `.tgz`, `.tar.gz`, `.tar` or
`.zip` around it.

Only that one member is ever written, under its bare file name, into a folder named by its hash: no path of
the archive reaches the file system, links and devices are refused, and no member is read past a fixed size.
"""

from __future__ import annotations

import hashlib
import lzma
import os
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from autotune_qnn.errors import ModelError

MAX_MEMBERS = 100_000
MAX_MODEL_BYTES = 2**31 - 1
MAX_ARCHIVE_BYTES = 4 * 2**30
_TAR_SUFFIXES = (".tgz", ".tar.gz", ".tar", ".tar.bz2", ".tar.xz")
_CHUNK = 1 << 20
_ARCHIVE_ERRORS = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    RuntimeError,
    ValueError,
)


def cache_folder() -> Path:
    """The project's cache: `$XDG_CACHE_HOME/autotune_qnn`, by default `~/.cache/autotune_qnn`. It need not
    exist yet.
    """
    configured = os.environ.get("XDG_CACHE_HOME", "")
    root = Path(configured) if os.path.isabs(configured) else Path.home() / ".cache"
    return root / "autotune_qnn"


def model_file(path: Path) -> Path:
    """The `.tflite` file that `path` is or holds; a member of an archive is extracted into the cache first.

    ModelError where the file is missing, the archive is damaged, or it holds no or more than one model.
    """
    if not path.exists():
        raise ModelError(f"no model file at {path}")
    if path.is_dir():
        raise ModelError(f"{path} is a folder; pass a .tflite file, or a .tgz or .zip that holds one")
    name = path.name.lower()
    is_zip = name.endswith(".zip")
    if not is_zip and not name.endswith(_TAR_SUFFIXES):
        return path
    if path.stat().st_size > MAX_ARCHIVE_BYTES:
        raise ModelError(f"{path} has more than {MAX_ARCHIVE_BYTES} bytes, too many for a model archive")
    try:
        with _zip_member(path) if is_zip else _tar_member(path) as (member, stream):
            return _store(member, stream, path)
    except ModelError:
        raise
    except _ARCHIVE_ERRORS as error:
        raise ModelError(f"{path} is no readable archive: {error or type(error).__name__}") from error


def _choose(names: list[str], path: Path) -> str:
    """The only model among the members."""
    if len(names) == 1:
        return names[0]
    found = "no .tflite file" if not names else f"{len(names)} .tflite files ({', '.join(sorted(names)[:4])})"
    raise ModelError(f"{path} holds {found}, expected exactly one; extract the one you want and pass it")


def _is_model(name: str) -> bool:
    base = PurePosixPath(name).name
    return base.lower().endswith(".tflite") and not base.startswith("._") and not name.startswith("__MACOSX/")


@contextmanager
def _tar_member(path: Path) -> Iterator[tuple[str, IO[bytes]]]:
    with tarfile.open(path, "r:*") as archive:
        models: list[tarfile.TarInfo] = []
        for count, member in enumerate(archive):
            if count >= MAX_MEMBERS:
                raise ModelError(f"{path} has more than {MAX_MEMBERS} members")
            if _is_model(member.name):
                models.append(member)
        chosen = _choose([member.name for member in models], path)
        member = models[0]
        stream = archive.extractfile(member) if member.isreg() else None
        if stream is None:
            raise ModelError(f"{path}: {chosen} is a link or a device, not a regular file")
        with stream:
            yield chosen, stream


@contextmanager
def _zip_member(path: Path) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if len(members) > MAX_MEMBERS:
            raise ModelError(f"{path} has more than {MAX_MEMBERS} members")
        models = [member for member in members if _is_model(member.filename) and not member.is_dir()]
        chosen = _choose([member.filename for member in models], path)
        if (models[0].external_attr >> 16) & 0o170000 not in (0, 0o100000):
            raise ModelError(f"{path}: {chosen} is a link or a device, not a regular file")
        with archive.open(models[0]) as stream:
            yield chosen, stream


def _store(member: str, stream: IO[bytes], path: Path) -> Path:
    """Writes the member under its hash in the cache and returns where; the same content is written once."""
    folder = cache_folder() / "extracted"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=folder, suffix=".part")
    except OSError as error:
        raise ModelError(f"cannot extract {path} into {folder}: {error.strerror or error}") from error
    try:
        digest = hashlib.sha256()
        size = 0
        with os.fdopen(handle, "wb") as out:
            while chunk := stream.read(_CHUNK):
                size += len(chunk)
                if size > MAX_MODEL_BYTES:
                    raise ModelError(f"{path}: {member} has more than {MAX_MODEL_BYTES} bytes")
                digest.update(chunk)
                out.write(chunk)
        target = folder / digest.hexdigest() / _plain_name(member)
        target.parent.mkdir(exist_ok=True)
        os.replace(temporary, target)
        return target
    finally:
        Path(temporary).unlink(missing_ok=True)


def _plain_name(member: str) -> str:
    """The member's bare name with only harmless characters, never empty and never long."""
    stem = PurePosixPath(member.replace("\\", "/")).name[: -len(".tflite")]
    kept = "".join(character if character.isalnum() or character in "._-" else "_" for character in stem)
    return (kept.lstrip(".")[:120] or "model") + ".tflite"

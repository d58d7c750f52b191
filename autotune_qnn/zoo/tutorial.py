"""The model that a frontend's tutorial uses, downloaded once and held to its hash from then on."""

from __future__ import annotations

import http.client
import os
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO

from autotune_qnn.build.manifest import file_sha256, settle, write_whole
from autotune_qnn.errors import ModelError, UsageError

URLS = {
    "tflite": "https://storage.googleapis.com/download.tensorflow.org/models/"
    "tflite_11_05_08/mobilenet_v2_1.0_224_quant.tgz",
}

_LARGEST = 1 << 30
_CHUNK = 1 << 20
_TIMEOUT_S = 30.0


def tutorial_model(frontend: str, cache: Path) -> Path:
    """The archive of the frontend's tutorial, from `cache` or downloaded into it.

    The hash of the first download is recorded beside it and every later use is checked against that. Raises
    ModelError, saying what to pass instead, where it cannot be had.
    """
    if frontend not in URLS:
        raise UsageError(f"the frontend {frontend} has no model of its own: pass --model FILE")
    url = URLS[frontend]
    path = cache / "models" / url.rsplit("/", 1)[1]
    record = path.with_name(path.name + ".sha256")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file():
            _download(url, path)
        digest = file_sha256(path)
        known = record.read_text(encoding="ascii").strip() if record.is_file() else None
        if known is None:
            write_whole(record, f"{digest}\n".encode())
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise ModelError(
            f"the default model {url} cannot be downloaded ({reason}); "
            "pass --model FILE, a .tflite file or a .tgz or .zip that holds one"
        ) from None
    if known is not None and known != digest:
        raise ModelError(
            f"{path} is not what was first downloaded: its SHA-256 is {digest}, {record.name} says {known}; "
            "delete both to download it again, or pass --model FILE"
        )
    return path


def _download(url: str, path: Path) -> None:
    """Download beside the destination and move there what arrived whole."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file, urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:
            size = _copy(answer, file)
            announced = answer.headers.get("Content-Length")
        if announced is not None and int(announced) != size:
            raise ValueError(f"it ended after {size} of {announced} bytes")
        settle(Path(name), path)
    finally:
        Path(name).unlink(missing_ok=True)


def _copy(source: IO[bytes], destination: IO[bytes]) -> int:
    size = 0
    while chunk := source.read(_CHUNK):
        size += len(chunk)
        if size > _LARGEST:
            raise ValueError("it is larger than 1 GiB")
        destination.write(chunk)
    return size

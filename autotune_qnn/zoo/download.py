"""Downloads that arrive whole or not at all."""

from __future__ import annotations

import hashlib
import http.client
import os
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO

from autotune_qnn.build.manifest import settle

DOWNLOAD_ERRORS = (OSError, ValueError, http.client.HTTPException)
"""What `download` may raise."""

_LARGEST = 1 << 30
_CHUNK = 1 << 20
_TIMEOUT_S = 20.0


def download(url: str, path: Path, *, sha256_prefix: str = "") -> None:
    """Fetch `url` beside `path` and move there what arrived whole, and with a SHA-256 that begins like that.

    Raises one of DOWNLOAD_ERRORS; `reason_of` puts it into words.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file, urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:
            size, digest = _copy(answer, file)
            announced = answer.headers.get("Content-Length")
        if announced is not None and int(announced) != size:
            raise ValueError(f"it ended after {size} of {announced} bytes")
        if not digest.startswith(sha256_prefix):
            raise ValueError(f"its SHA-256 is {digest}, not {sha256_prefix}...")
        settle(Path(name), path)
    finally:
        Path(name).unlink(missing_ok=True)


def reason_of(error: BaseException) -> str:
    """Why a download failed, in a few words."""
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    return str(reason) or type(error).__name__


def _copy(source: IO[bytes], destination: IO[bytes]) -> tuple[int, str]:
    size, digest = 0, hashlib.sha256()
    while chunk := source.read(_CHUNK):
        size += len(chunk)
        if size > _LARGEST:
            raise ValueError("it is larger than 1 GiB")
        digest.update(chunk)
        destination.write(chunk)
    return size, digest.hexdigest()

"""Named arrays over a pipe: how a frontend talks to its reference process.

A frame is 8 bytes of little-endian length and one `.npz` file.
"""

from __future__ import annotations

import io
from typing import IO, Any

import numpy as np

from autotune_qnn.frontends.base import Array

MAX_FRAME_BYTES = 2**32


def write_frame(stream: IO[bytes], arrays: dict[str, Any]) -> None:
    """Sends named arrays (or scalars and strings, as 0-d arrays) as one frame."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    payload = buffer.getvalue()
    stream.write(len(payload).to_bytes(8, "little") + payload)
    stream.flush()


def read_frame(stream: IO[bytes]) -> dict[str, Array] | None:
    """The next frame's arrays, or None at the end of the stream (also in the middle of a frame)."""
    header = stream.read(8)
    if len(header) < 8:
        return None
    length = int.from_bytes(header, "little")
    if length > MAX_FRAME_BYTES:
        return None
    payload = stream.read(length)
    if len(payload) < length:
        return None
    with np.load(io.BytesIO(payload), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}

"""The model that a frontend's tutorial uses, downloaded once and held to its hash from then on."""

from __future__ import annotations

from pathlib import Path

from autotune_qnn.build.manifest import file_sha256, write_whole
from autotune_qnn.errors import ModelError, UsageError
from autotune_qnn.zoo.download import DOWNLOAD_ERRORS, download, reason_of

URLS = {
    "tflite": "https://storage.googleapis.com/download.tensorflow.org/models/"
    "tflite_11_05_08/mobilenet_v2_1.0_224_quant.tgz",
}


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
            download(url, path)
        digest = file_sha256(path)
        known = record.read_text(encoding="ascii").strip() if record.is_file() else None
        if known is None:
            write_whole(record, f"{digest}\n".encode())
    except DOWNLOAD_ERRORS as error:
        raise ModelError(
            f"the default model {url} cannot be downloaded ({reason_of(error)}); "
            "pass --model FILE, a .tflite file or a .tgz or .zip that holds one"
        ) from None
    if known is not None and known != digest:
        raise ModelError(
            f"{path} is not what was first downloaded: its SHA-256 is {digest}, {record.name} says {known}; "
            "delete both to download it again, or pass --model FILE"
        )
    return path

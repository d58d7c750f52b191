"""Writing results and reading class names. Imports neither TVM nor a framework."""

from __future__ import annotations

import json
from pathlib import Path

from autotune_qnn.build.manifest import write_whole
from autotune_qnn.errors import DatasetError, UsageError

_LARGEST_LABELS = 16 << 20


def check_writable(path: Path | None, option: str) -> None:
    """Raise UsageError now rather than after an hour's work where a result could not be written."""
    if path is None:
        return
    if path.is_dir():
        raise UsageError(f"{option} {path} is a folder; name a file")
    if not path.parent.is_dir():
        raise UsageError(f"{option} {path}: there is no folder {path.parent}")


def write_text(path: Path, text: str) -> None:
    """Write a result file whole. Raises UsageError where that is not possible."""
    try:
        write_whole(path, text.encode())
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror or error}") from None


def read_labels(path: Path | None) -> tuple[str, ...]:
    """Class names in order, from a file with one a line, a JSON list, or a JSON object by class number."""
    if path is None:
        return ()
    try:
        if path.stat().st_size > _LARGEST_LABELS:
            raise DatasetError(f"{path} is larger than 16 MiB")
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() != ".json":
            return tuple(line.strip() for line in text.splitlines())
        names = json.loads(text)
    except FileNotFoundError:
        raise DatasetError(f"there is no file {path}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise DatasetError(f"{path} cannot be read as class names: {error}") from None
    if isinstance(names, dict) and all(number.isdecimal() for number in names):
        names = [names[number] for number in sorted(names, key=int)]
    if not isinstance(names, list):
        raise DatasetError(f"{path} is neither a list of names nor an object from class number to name")
    return tuple(str(name[-1]) if isinstance(name, list) and name else str(name) for name in names)


def class_names(classes: tuple[int, ...], labels: tuple[str, ...]) -> tuple[str, ...]:
    """The names of classes; none without labels, a question mark beyond their end."""
    return tuple(labels[number] if number < len(labels) else "?" for number in classes) if labels else ()

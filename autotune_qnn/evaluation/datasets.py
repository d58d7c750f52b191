"""Inputs to compare and score builds on: seeded random ones, .npz files, images, folders of images."""

from __future__ import annotations

import csv
import json
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from autotune_qnn.errors import DatasetError, first_line
from autotune_qnn.evaluation.preprocessing import IMAGE_SUFFIXES, ImageRecipe, Preprocessing

Array = npt.NDArray[Any]

npy: Any = np.lib.format  # NumPy leaves this module untyped

_MOST_BYTES = 4 << 30
_MOST_ENTRIES = 64
_MOST_LABEL_BYTES = 64 << 20


class InputSpec(Protocol):
    """What a dataset has to know of a model's input: both frontends' and manifests' descriptions have it."""

    @property
    def name(self) -> str:
        """The input's name in the model."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape, the batch first."""
        ...

    @property
    def dtype(self) -> str:
        """NumPy's name of its dtype."""
        ...


@dataclass(frozen=True, slots=True)
class Batch:
    """One run's inputs. The first `count` elements along axis 0 count; the rest fills the batch."""

    inputs: list[Array]
    count: int
    labels: tuple[int, ...] | None


class Dataset:
    """Elements without their batch axis, in order, read one by one, with or without labels."""

    def __init__(self, name: str, batch: int, labels: Sequence[int] | None) -> None:
        self.name = name
        self.batch = batch
        self.labels = None if labels is None else tuple(labels)

    def __len__(self) -> int:
        raise NotImplementedError

    def element(self, index: int) -> list[Array]:
        """Every model input of one element, without the batch axis."""
        raise NotImplementedError

    def batches(self) -> Iterator[Batch]:
        """All elements, grouped by the batch size that the model was imported with."""
        for start in range(0, len(self), self.batch):
            indices = range(start, min(start + self.batch, len(self)))
            elements = [self.element(index) for index in indices]
            filled = [elements[place % len(elements)] for place in range(self.batch)]
            inputs = [np.stack(values) for values in zip(*filled, strict=True)]
            labels = None if self.labels is None else tuple(self.labels[index] for index in indices)
            yield Batch(inputs, len(elements), labels)


class ArrayDataset(Dataset):
    """Arrays in memory, one a model input, each [elements, ...]."""

    def __init__(
        self, name: str, batch: int, arrays: Sequence[Array], labels: Sequence[int] | None = None
    ) -> None:
        super().__init__(name, batch, labels)
        self.arrays = tuple(arrays)

    def __len__(self) -> int:
        return len(self.arrays[0])

    def element(self, index: int) -> list[Array]:
        """Every model input of one element, without the batch axis."""
        return [array[index] for array in self.arrays]


class ImageDataset(Dataset):
    """Image files, read when their turn comes."""

    def __init__(
        self,
        name: str,
        batch: int,
        paths: Sequence[Path],
        preprocessing: Preprocessing,
        labels: Sequence[int] | None = None,
    ) -> None:
        super().__init__(name, batch, labels)
        self.paths = tuple(paths)
        self.preprocessing = preprocessing

    def __len__(self) -> int:
        return len(self.paths)

    def element(self, index: int) -> list[Array]:
        """The image as the model's one input, without the batch axis."""
        return [self.preprocessing.load(self.paths[index])]


def random_inputs(specs: Sequence[InputSpec], samples: int, seed: int) -> ArrayDataset:
    """Seeded inputs over each dtype's whole range (floats: normal deviates)."""
    generator = np.random.default_rng(seed)
    arrays = []
    for spec in specs:
        shape = (samples, *spec.shape[1:])
        dtype = np.dtype(spec.dtype)
        if dtype.kind in "iu":
            limits = np.iinfo(dtype)
            arrays.append(generator.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True))
        else:
            arrays.append(generator.standard_normal(shape).astype(dtype))
    return ArrayDataset(f"{samples} random inputs, seed {seed}", _batch(specs), arrays)


def open_images(
    name: str, paths: Sequence[Path], specs: Sequence[InputSpec], recipe: ImageRecipe
) -> ImageDataset:
    """Image files as inputs of a model. Raises DatasetError where it takes no images."""
    return ImageDataset(name, _batch(specs), paths, _image_steps(specs, recipe))


def open_dataset(path: Path, specs: Sequence[InputSpec], recipe: ImageRecipe) -> Dataset:
    """Open an .npz file, one image, or a folder of images.

    An .npz file holds `inputs` (or, where the model has several inputs, one array by each input's name) and
    perhaps `labels`. A folder's labels are in labels.json (an object from file name to class), labels.csv or
    labels.txt (a file name and a class a line). Raises DatasetError, naming the file and what is wrong.
    """
    if path.is_dir():
        return _open_folder(path, specs, recipe)
    if not path.is_file():
        raise DatasetError(f"there is no file or folder {path}")
    if path.suffix.lower() == ".npz":
        return _open_arrays(path, specs)
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return ImageDataset(path.name, _batch(specs), [path], _image_steps(specs, recipe))
    raise DatasetError(f"{path} is neither .npz nor an image nor a folder of images")


def read_npz(path: Path) -> dict[str, Array]:
    """Every array of an .npz file, without pickles and within limits on size. Raises DatasetError."""
    try:
        with zipfile.ZipFile(path) as archive:
            _check_archive(path, archive)
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, EOFError, KeyError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        raise DatasetError(f"{path} cannot be read as .npz: {first_line(error)}") from None
    except NotImplementedError as error:
        raise DatasetError(f"{path} is packed in a way that cannot be read: {error}") from None


def _check_archive(path: Path, archive: zipfile.ZipFile) -> None:
    """Refuse archives that would expand too far, and headers that promise more than is there."""
    entries = archive.infolist()
    if len(entries) > _MOST_ENTRIES or sum(entry.file_size for entry in entries) > _MOST_BYTES:
        raise DatasetError(f"{path} holds more than {_MOST_ENTRIES} arrays or 4 GiB")
    for entry in entries:
        with archive.open(entry) as file:
            version = npy.read_magic(file)
            read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
            if read is None:
                raise DatasetError(f"{path}: {entry.filename} has .npy version {version}")
            shape, _, dtype = read(file)
            if (
                dtype.hasobject
                or file.tell() + int(np.prod(shape, dtype=object)) * dtype.itemsize != entry.file_size
            ):
                raise DatasetError(
                    f"{path}: {entry.filename} does not hold the array that its header describes"
                )


def _open_arrays(path: Path, specs: Sequence[InputSpec]) -> ArrayDataset:
    arrays = read_npz(path)
    names = ["inputs"] if len(specs) == 1 and "inputs" in arrays else [spec.name for spec in specs]
    chosen = []
    for name, spec in zip(names, specs, strict=True):
        if name not in arrays:
            raise DatasetError(f"{path} has no array {name!r}; it has {', '.join(sorted(arrays)) or 'none'}")
        array = arrays[name]
        if (
            array.dtype.name != spec.dtype
            or array.shape[1:] != spec.shape[1:]
            or not array.ndim
            or not len(array)
        ):
            raise DatasetError(
                f"{path}: {name!r} is {array.dtype.name} {list(array.shape)}; the model's input "
                f"{spec.name!r} takes {spec.dtype} [elements, {', '.join(map(str, spec.shape[1:]))}]"
            )
        chosen.append(array)
    if len({len(array) for array in chosen}) != 1:
        raise DatasetError(f"{path}: the inputs have different numbers of elements")
    return ArrayDataset(path.name, _batch(specs), chosen, _array_labels(path, arrays, len(chosen[0])))


def _array_labels(path: Path, arrays: dict[str, Array], count: int) -> list[int] | None:
    labels = arrays.get("labels")
    if labels is None:
        return None
    if labels.dtype.kind not in "iu" or labels.shape != (count,):
        raise DatasetError(
            f"{path}: 'labels' has to be {count} whole numbers, not {labels.dtype} {labels.shape}"
        )
    return [int(label) for label in labels]


def _open_folder(path: Path, specs: Sequence[InputSpec], recipe: ImageRecipe) -> ImageDataset:
    try:
        images = sorted(entry for entry in path.iterdir() if entry.suffix.lower() in IMAGE_SUFFIXES)
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}") from None
    labels = _folder_labels(path)
    if labels is not None:
        unknown = sorted(set(labels) - {image.name for image in images})
        if unknown:
            raise DatasetError(
                f"{path}: labels are given for files that are not there: {', '.join(unknown[:3])}"
            )
        images = [image for image in images if image.name in labels]
    if not images:
        raise DatasetError(f"{path} holds no images ({', '.join(sorted(IMAGE_SUFFIXES))})")
    chosen = None if labels is None else [labels[image.name] for image in images]
    return ImageDataset(path.name, _batch(specs), images, _image_steps(specs, recipe), chosen)


def _folder_labels(folder: Path) -> dict[str, int] | None:
    readers = {"labels.json": _json_labels, "labels.csv": _csv_labels, "labels.txt": _text_labels}
    for name, reader in readers.items():
        path = folder / name
        if not path.is_file():
            continue
        try:
            if path.stat().st_size > _MOST_LABEL_BYTES:
                raise DatasetError(f"{path} is larger than 64 MiB")
            return reader(path.read_text(encoding="utf-8-sig"))
        except (OSError, ValueError, csv.Error, RecursionError) as error:
            raise DatasetError(f"{path} cannot be read as labels: {error}") from None
    return None


def _json_labels(text: str) -> dict[str, int]:
    labels = json.loads(text)
    if not isinstance(labels, dict):
        raise ValueError("an object from file name to class number is expected")
    return {name: _label(name, value) for name, value in labels.items()}


def _csv_labels(text: str) -> dict[str, int]:
    rows = [row for row in csv.reader(text.splitlines()) if row]
    if rows and rows[0][-1].strip() and not rows[0][-1].strip().lstrip("-").isdigit():
        rows = rows[1:]
    return _pairs(rows)


def _text_labels(text: str) -> dict[str, int]:
    return _pairs([line.rsplit(maxsplit=1) for line in text.splitlines() if line.strip()])


def _pairs(rows: Sequence[Sequence[str]]) -> dict[str, int]:
    labels: dict[str, int] = {}
    for row in rows:
        if len(row) != 2:
            raise ValueError(f"a line has to hold a file name and a class number, not {row}")
        labels[row[0].strip()] = _label(row[0], row[1])
    return labels


def _label(name: str, value: Any) -> int:
    if isinstance(value, str) and value.strip().isdecimal():
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ValueError(f"the class of {name!r} has to be a whole number, not {value!r}")


def _image_steps(specs: Sequence[InputSpec], recipe: ImageRecipe) -> Preprocessing:
    if len(specs) != 1:
        raise DatasetError(f"the model has {len(specs)} inputs; images go into models with one")
    return Preprocessing.for_input(specs[0].shape, specs[0].dtype, recipe)


def _batch(specs: Sequence[InputSpec]) -> int:
    return specs[0].shape[0] if specs and specs[0].shape else 1

"""Images into model inputs: the steps, as a record that a report can repeat."""

from __future__ import annotations

import dataclasses
import enum
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from autotune_qnn.errors import DatasetError, UsageError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".webp"})
_MOST_PIXELS = 64 << 20
_IMAGE_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,  # what Pillow raises for a broken PNG
    Image.DecompressionBombWarning,
    Image.DecompressionBombError,
)


class Fit(enum.StrEnum):
    """How an image of any size becomes one of the model's size, both with bilinear interpolation."""

    RESIZE = "resize"  # stretched to the size
    CROP = "crop"  # the shorter side to a little more than the size, then the centre


@dataclass(frozen=True, slots=True)
class ImageRecipe:
    """How a model wants its images, whatever size it was imported with.

    `ratio` is the shorter side of the resized image over the side of the centre that `Fit.CROP` cuts out.
    Models with float inputs take (pixel/255 - mean)/std, a value a channel; None where that is not known.
    """

    fit: Fit = Fit.RESIZE
    ratio: float = 227 / 224
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        normalized = self.mean is not None and self.std is not None
        if not normalized and (self.mean is not None or self.std is not None):
            raise UsageError("mean and std of the pixels have to be given together")
        numbers = (self.ratio, *(self.mean or ()), *(self.std or ()))
        if not all(math.isfinite(number) for number in numbers) or not 1 <= self.ratio <= 16:
            raise UsageError(f"an image recipe cannot have these numbers: {numbers}")
        if normalized and (len(self.mean or ()) != len(self.std or ()) or min(self.std or (0,)) <= 0):
            raise UsageError("mean and std take one number a channel each, and std is positive")

    def to_record(self) -> dict[str, Any]:
        """The recipe as a JSON object."""
        return {**dataclasses.asdict(self), "fit": self.fit.value}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> ImageRecipe:
        """What `to_record` gave. Raises DatasetError for anything else."""
        try:
            mean, std = (
                None if record[name] is None else tuple(float(value) for value in record[name])
                for name in ("mean", "std")
            )
            return cls(Fit(record["fit"]), float(record["ratio"]), mean, std)
        except (KeyError, TypeError, ValueError, UsageError) as error:
            raise DatasetError(f"this is no record of how images are prepared: {error}") from None


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """From an image to one element of a batch, [height, width, channels] or, for NCHW, channels first.

    Quantized inputs take the pixels themselves: as they are (uint8) or minus 128 (int8: `offset`); float
    inputs (pixel/255 - mean)/std.
    """

    recipe: ImageRecipe
    height: int
    width: int
    channels: int
    dtype: str
    offset: int
    layout: str

    @classmethod
    def for_input(cls, shape: tuple[int, ...], dtype: str, recipe: ImageRecipe) -> Preprocessing:
        """The steps for an input of this shape and dtype. Raises DatasetError where it takes no images."""
        layout = "NCHW" if dtype == "float32" and len(shape) == 4 and shape[1] in (1, 3) else "NHWC"
        sizes = shape[1:] if layout == "NHWC" else (*shape[2:], shape[1])
        if len(sizes) != 3 or sizes[2] not in (1, 3) or dtype not in ("uint8", "int8", "float32"):
            raise DatasetError(
                f"the model's input is {dtype} {list(shape)}; images go into uint8, int8 or float32 "
                "[batch, height, width, 1 or 3] or float32 [batch, 1 or 3, height, width]; "
                "give an .npz file instead"
            )
        if dtype == "float32" and len(recipe.mean or ()) != sizes[2]:
            raise DatasetError(
                f"the model's input is {dtype} {list(shape)}: images need {sizes[2]} number(s) in each of "
                "--mean and --std; or give an .npz file"
            )
        return cls(recipe, *sizes, dtype, -128 if dtype == "int8" else 0, layout)

    def load(self, path: Path) -> npt.NDArray[Any]:
        """Read an image as one element of `dtype`. Raises DatasetError, naming the file."""
        image = _opened(path).convert("RGB" if self.channels == 3 else "L")
        if math.prod(self._resized(image.width, image.height)) > _MOST_PIXELS:
            raise DatasetError(f"{path}: {image.width}x{image.height} is too long and narrow an image")
        pixels = np.asarray(self._fitted(image)).reshape(self.height, self.width, self.channels)
        if self.dtype != "float32":
            return (pixels.astype(np.int16) + self.offset).astype(self.dtype)
        mean, std = (np.asarray(values, np.float32) for values in (self.recipe.mean, self.recipe.std))
        values = (pixels.astype(np.float32) / np.float32(255) - mean) / std
        return np.ascontiguousarray(values.transpose(2, 0, 1) if self.layout == "NCHW" else values)

    def describe(self) -> str:
        """The steps in one line."""
        size = f"{self.width}x{self.height}"
        steps = {
            Fit.RESIZE: f"resized to {size}",
            Fit.CROP: f"shorter side resized to {self._shorter()}, centre {size} cut out",
        }[self.recipe.fit]
        colours = "RGB" if self.channels == 3 else "grey"
        if self.dtype == "float32":
            mean, std = (
                ", ".join(f"{value:g}" for value in values or ())
                for values in (self.recipe.mean, self.recipe.std)
            )
            return f"{colours}, {steps} (bilinear), /255, mean {mean}, std {std}, float32 {self.layout}"
        shift = f"; {self.offset:+d}" if self.offset else ""
        return f"{colours}, {steps} (bilinear), {self.dtype}{shift}"

    def _shorter(self) -> int:
        return round(min(self.width, self.height) * self.recipe.ratio)

    def _fitted(self, image: Image.Image) -> Image.Image:
        if self.recipe.fit is Fit.RESIZE:
            return image.resize((self.width, self.height), Image.Resampling.BILINEAR)
        wide, high = self._resized(image.width, image.height)
        image = image.resize((wide, high), Image.Resampling.BILINEAR)
        left, top = round((wide - self.width) / 2), round((high - self.height) / 2)
        return image.crop((left, top, left + self.width, top + self.height))

    def _resized(self, wide: int, high: int) -> tuple[int, int]:
        """The image's shorter side at its new length and the longer one in proportion, cut to whole pixels;
        for a model that is not square, at least what the crop needs.
        """
        if self.width == self.height:
            shorter = self._shorter()
            return (shorter, shorter * high // wide) if wide <= high else (shorter * wide // high, shorter)
        scale = max(self.width / wide, self.height / high) * self.recipe.ratio
        return max(self.width, round(wide * scale)), max(self.height, round(high * scale))


def _opened(path: Path) -> Image.Image:
    """An image whose pixels are read, within limits on what a file may expand to."""
    try:
        with warnings.catch_warnings(), path.open("rb") as file:
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(file)
            if image.width * image.height > _MOST_PIXELS:
                raise DatasetError(
                    f"{path} has {image.width}x{image.height} pixels; at most 64 million are read"
                )
            image.load()
            return image
    except FileNotFoundError:
        raise DatasetError(f"there is no image {path}") from None
    except UnidentifiedImageError:
        raise DatasetError(f"{path} is not an image that can be read") from None
    except _IMAGE_ERRORS as error:
        raise DatasetError(f"{path} cannot be read as an image: {error}") from None

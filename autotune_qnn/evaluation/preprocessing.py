"""Images into model inputs: the steps, as a record that a report can repeat."""

from __future__ import annotations

import enum
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from autotune_qnn.errors import DatasetError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".webp"})
_MOST_PIXELS = 64 << 20
_CROP_RATIO = 227 / 224
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
    CROP = "crop"  # the shorter side to 227/224 of the size, then the centre


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """From an image to one quantized element of a batch, NHWC: pixels in 0..255 plus `offset`, unscaled.

    Quantized models take the pixels themselves: as they are (uint8) or minus 128 (int8).
    """

    fit: Fit
    height: int
    width: int
    channels: int
    dtype: str
    offset: int

    @classmethod
    def for_input(cls, shape: tuple[int, ...], dtype: str, fit: Fit) -> Preprocessing:
        """The steps for an input of this shape and dtype. Raises DatasetError where it takes no images."""
        if len(shape) != 4 or shape[3] not in (1, 3) or dtype not in ("uint8", "int8"):
            raise DatasetError(
                f"the model's input is {dtype} {list(shape)}; images go into uint8 or int8 "
                "[batch, height, width, 1 or 3]; give an .npz file instead"
            )
        return cls(fit, shape[1], shape[2], shape[3], dtype, -128 if dtype == "int8" else 0)

    def load(self, path: Path) -> npt.NDArray[Any]:
        """Read an image as [height, width, channels] of `dtype`. Raises DatasetError, naming the file."""
        image = _opened(path).convert("RGB" if self.channels == 3 else "L")
        fitted = self._fitted(image)
        pixels = np.asarray(fitted, dtype=np.int16).reshape(self.height, self.width, self.channels)
        return (pixels + self.offset).astype(self.dtype)

    def describe(self) -> str:
        """The steps in one line."""
        size = f"{self.width}x{self.height}"
        steps = {
            Fit.RESIZE: f"resized to {size}",
            Fit.CROP: f"shorter side resized to 227/224 of the size, centre {size} cut out",
        }[self.fit]
        shift = f"; {self.offset:+d}" if self.offset else ""
        return f"{'RGB' if self.channels == 3 else 'grey'}, {steps} (bilinear), {self.dtype}{shift}"

    def _fitted(self, image: Image.Image) -> Image.Image:
        if self.fit is Fit.RESIZE:
            return image.resize((self.width, self.height), Image.Resampling.BILINEAR)
        scale = max(self.width / image.width, self.height / image.height) * _CROP_RATIO
        wide, high = (max(1, round(extent * scale)) for extent in image.size)
        image = image.resize((wide, high), Image.Resampling.BILINEAR)
        left, top = (wide - self.width) // 2, (high - self.height) // 2
        return image.crop((left, top, left + self.width, top + self.height))


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

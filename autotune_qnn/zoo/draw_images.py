"""Draws the pictures of `own_images`: `python -m autotune_qnn.zoo.draw_images`.

They are made of seeded noise, gradients and shapes, so that bright and dark, smooth and busy inputs all occur. Run
again, it writes the same pictures.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from autotune_qnn.zoo.own_images import FOLDER

SIZE = 160
_COLOURS = 96

Plane = npt.NDArray[np.float64]
Picture = npt.NDArray[np.uint8]


def pictures() -> dict[str, Picture]:
    """Every picture by its name, uint8 [160, 160, 3]."""
    generator = np.random.default_rng(20240501)
    y, x = np.mgrid[0:SIZE, 0:SIZE] / (SIZE - 1.0)
    drawn = {
        "clouds": _mixed(_clouds(generator, 5), (0.25, 0.45, 0.85), (0.95, 0.96, 1.0)),
        "hills": _hills(generator, x, y),
        "discs": _discs(generator, x, y),
        "stripes": _mixed(
            0.5 + 0.5 * np.sin(60 * (x + 0.5 * y) + 4 * _clouds(generator, 3)),
            (0.05, 0.05, 0.08),
            (1, 0.8, 0.3),
        ),
        "tiles": _tiles(generator),
        "rings": _mixed(
            0.5 + 0.5 * np.cos(90 * np.hypot(x - 0.4, y - 0.6) ** 1.4), (0.7, 0.1, 0.15), (0.1, 0.5, 0.45)
        ),
        "night": _mixed(_clouds(generator, 4) ** 4, (0.01, 0.01, 0.03), (0.3, 0.28, 0.4)),
        "grass": _mixed(_clouds(generator, 7), (0.05, 0.2, 0.02), (0.65, 0.8, 0.3)),
    }
    return {name: _few_colours(values) for name, values in drawn.items()}


def _clouds(generator: np.random.Generator, octaves: int) -> Plane:
    """Smooth noise of several scales, stretched to 0..1."""
    total = np.zeros((SIZE, SIZE))
    for octave in range(octaves):
        cells = 3 * 2**octave
        coarse = generator.random((cells + 1, cells + 1))
        place = np.linspace(0, cells - 1e-9, SIZE)
        whole = place.astype(np.int64)
        part = place - whole
        ease = part * part * (3 - 2 * part)
        rows = coarse[whole] * (1 - ease[:, None]) + coarse[whole + 1] * ease[:, None]
        total += (rows[:, whole] * (1 - ease) + rows[:, whole + 1] * ease) / 1.7**octave
    low, high = total.min(), total.max()
    return np.asarray((total - low) / (high - low))


def _mixed(amount: Plane, first: tuple[float, ...], second: tuple[float, ...]) -> Plane:
    """Between two colours, by the amount of the second."""
    share = amount[..., None]
    return np.asarray((1 - share) * np.array(first) + share * np.array(second))


def _hills(generator: np.random.Generator, x: Plane, y: Plane) -> Plane:
    scene = _mixed(y, (0.35, 0.6, 0.95), (1.0, 0.85, 0.6))
    for number in range(4):
        edge = 0.35 + 0.15 * number + 0.1 * np.sin((3 + 2 * number) * x + 6 * generator.random())
        shade = 0.75 - 0.17 * number
        scene[y > edge] = np.array([0.4, 0.75, 0.5]) * shade
    return scene


def _discs(generator: np.random.Generator, x: Plane, y: Plane) -> Plane:
    scene = np.full((SIZE, SIZE, 3), 0.9)
    for _ in range(14):
        across, down, radius = generator.random(), generator.random(), 0.05 + 0.15 * generator.random()
        distance = np.hypot(x - across, y - down)
        inside = distance < radius
        light = 1 - 0.6 * distance[inside] / radius
        scene[inside] = light[:, None] * generator.random(3)
    return scene


def _tiles(generator: np.random.Generator) -> Plane:
    colours = generator.random((8, 8, 3))
    return np.repeat(np.repeat(colours, SIZE // 8, axis=0), SIZE // 8, axis=1)


def _few_colours(values: Plane) -> Picture:
    """As 8-bit colours in steps, which PNG stores in little space."""
    steps = np.rint(np.clip(values, 0, 1) * (_COLOURS - 1))
    return np.asarray(np.rint(steps * (255 / (_COLOURS - 1))), np.uint8)


def main(folder: Path = FOLDER) -> dict[str, Any]:
    """Write the pictures as PNG files; returns the size of each in bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    sizes = {}
    for name, values in pictures().items():
        path = folder / f"{name}.png"
        Image.fromarray(values).save(path, optimize=True)
        sizes[name] = path.stat().st_size
    return sizes


if __name__ == "__main__":
    main()

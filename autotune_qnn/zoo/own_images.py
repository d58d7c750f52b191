"""The pictures that come with the project: what networks with random weights are calibrated on, and compared on.

They are synthetic (`draw_images` draws them) and show nothing that any class is named after.
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "images"


def own_images() -> tuple[Path, ...]:
    """The pictures' files, in a fixed order."""
    return tuple(sorted(FOLDER.glob("*.png")))

"""Convolutions on AMX's tiles: what a kernel's blocks say of it, how tiles are laid over it, and the code for them."""

from __future__ import annotations

from autotune_qnn.kernels.tiles.layout import ALL, TileKnobs, TileLayout
from autotune_qnn.kernels.tiles.reading import TileProblem, UnfitForTiles
from autotune_qnn.kernels.tiles.writing import ANNOTATION, write_tiles

__all__ = ["ALL", "ANNOTATION", "TileKnobs", "TileLayout", "TileProblem", "UnfitForTiles", "write_tiles"]

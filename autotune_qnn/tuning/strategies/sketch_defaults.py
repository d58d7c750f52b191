"""How sketches choose the register tile of their default."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence

_MOST_TILES = 4096

Values = Mapping[str, int]
"""Values of knobs by name."""


def best_tile(
    knobs: Mapping[str, Sequence[int]], fits: Callable[[Values], bool], score: Callable[[Values], float]
) -> dict[str, int]:
    """The values of the knobs tileN that fit and score most, the first of equals; ones where none fits.

    Of very many tiles only the first are tried.
    """
    names = [name for name in knobs if name.startswith("tile")]
    best: tuple[float, dict[str, int]] = (-math.inf, dict.fromkeys(names, 1))
    for chosen in itertools.islice(itertools.product(*(knobs[name] for name in names)), _MOST_TILES):
        values = dict(zip(names, chosen, strict=True))
        if fits(values):
            best = max(best, (score(values), values), key=lambda entry: entry[0])
    return best[1]

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from autotune_qnn.zoo.draw_images import main, pictures
from autotune_qnn.zoo.own_images import own_images


def test_they_are_what_the_module_draws() -> None:
    expected = pictures()
    assert {path.stem for path in own_images()} == set(expected)
    for path in own_images():
        difference = np.abs(np.asarray(Image.open(path)).astype(int) - expected[path.stem])
        assert np.count_nonzero(difference) < difference.size // 1000, path.name


def test_they_are_small(tmp_path: Path) -> None:
    assert sum(main(tmp_path).values()) < 200_000

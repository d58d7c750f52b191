from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from autotune_qnn.zoo.own_images import own_images

SCRIPT = Path(__file__).resolve().parents[3] / "scripts" / "draw_images.py"


def drawn() -> dict[str, Any]:
    spec = importlib.util.spec_from_file_location("draw_images", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    pictures: dict[str, Any] = module.pictures()
    return pictures


def test_they_are_what_the_script_draws() -> None:
    expected = drawn()
    assert {path.stem for path in own_images()} == set(expected)
    for path in own_images():
        difference = np.abs(np.asarray(Image.open(path)).astype(int) - expected[path.stem])
        assert np.count_nonzero(difference) < difference.size // 1000, path.name

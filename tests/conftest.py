"""Fixtures that every test may use."""

from __future__ import annotations

from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
SHARED = PROJECT.parent / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real models and data beside the project; the test is skipped where it is missing."""
    if not (SHARED / "models").is_dir():
        pytest.skip(f"the real models are not here: {SHARED} is missing")
    return SHARED


@pytest.fixture(scope="session")
def tflite_models(shared: Path) -> Path:
    """The folder of the real TFLite models."""
    return shared / "models" / "tflite"

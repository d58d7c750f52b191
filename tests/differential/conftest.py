"""What several tests of kernels start from."""

from __future__ import annotations

import pytest

from autotune_qnn.kernels import winograd


@pytest.fixture(params=[True, False], ids=["stored", "transformed"])
def stored(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether kernels read transformed weights or transform them; all of them are Winograd's."""
    monkeypatch.setattr(winograd, "_STORED_BYTES", 1 << 30 if request.param else 0)
    monkeypatch.setattr(winograd.WinogradGeometry, "pays", lambda *_: True)
    return bool(request.param)

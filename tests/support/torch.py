"""What tests of the PyTorch frontend need: a skip, with its reason, where PyTorch or torchvision is missing."""

from __future__ import annotations

import importlib.util

import pytest

needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="PyTorch is not installed: scripts/setup pytorch"
)
needs_torchvision = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None or importlib.util.find_spec("torchvision") is None,
    reason="torchvision is not installed: scripts/setup pytorch",
)
needs_torchao = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None or importlib.util.find_spec("torchao") is None,
    reason="torchao is not installed: scripts/setup pytorch",
)

"""Pre-quantized networks, imported as they are, tuned and built into exact integer code with TVM."""

from __future__ import annotations

__version__ = "0.1.0"

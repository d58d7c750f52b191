"""NumPy references of the plain Relax operators that stand between qnn operators in an imported model."""

from __future__ import annotations

from autotune_qnn.dialect.plain import elementwise, network, reduction, shape

__all__ = ["elementwise", "network", "reduction", "shape"]

"""How tensors are kept in memory: int8 inside the network as uint8, moved up by 128.

The dot-product instructions take unsigned data. Keeping every signed activation moved by 128 costs nothing (the
kernel that writes it adds 128 to its zero point, the one that reads it subtracts 128 there), and moving keeps the
order of values, so copies, slices and maxima work on the stored bytes as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

ALIGNED = "aligned_"
"""How the name of a buffer begins that has to begin with a line of the cache: TVM aligns memory on the stack less."""


@dataclass(frozen=True, slots=True)
class Storage:
    """The dtype in memory, and what is added to the logical value to get the stored one."""

    dtype: str
    offset: int = 0


def internal(dtype: str) -> Storage:
    """Storage of a tensor of this logical dtype between two kernels."""
    return Storage("uint8", 128) if dtype == "int8" else Storage(dtype)


def external(dtype: str) -> Storage:
    """Storage of a model's input or output: as the model declares it."""
    return Storage(dtype)

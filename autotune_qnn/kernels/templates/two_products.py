"""How well a register tile serves CPUs that begin two products in a cycle (`DotShape.rate`).

Each of its products adds to an accumulator of its own. A sum waits for its last product, so ten have to be under way;
and a core takes up four operations a cycle, of which two are to be products. With one vector of weights each product
fetches its own data, an instruction that most of these cores take up as two; with more, a fetch serves several. (Agner
Fog, "The microarchitecture of Intel, AMD, and VIA CPUs", on Skylake-X: ports 0 and 5, latency 5, fused operations.)
"""

from __future__ import annotations

_RATE = 2
_LATENCY = 5
_TAKEN_UP = 4
_LOADS = 2
"""Products, cycles of one, operations taken up and loads: in a cycle."""
_LOOP = 2
"""Operations of a loop beside its products."""
_REGISTERS = 20
_MOVES = 0.1
"""Accumulators with which LLVM does not yet move registers about, and what that costs a product."""
_WEIGHTS = 0.05
"""What a load of weights costs beyond that of data: they come from further away."""


def product_cycles(pixels: int, blocks: int) -> float:
    """About how many cycles a product takes in a tile of pixels times vectors of output channels; 0.5 at best."""
    products = pixels * blocks
    fetches = pixels + blocks
    operations = products + (fetches if blocks > 1 else products + 1) + _LOOP
    least = max(products / _RATE, _LATENCY, operations / _TAKEN_UP, fetches / _LOADS) / products
    return least + _WEIGHTS / pixels + (_MOVES if products > _REGISTERS else 0.0)

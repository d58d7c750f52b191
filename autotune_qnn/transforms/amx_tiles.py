"""Turns convolutions whose schedule asks for it into code for AMX's tiles, before any other pass sees them."""

from __future__ import annotations

from typing import Any

from tvm import s_tir, tirx

from autotune_qnn.errors import BuildError
from autotune_qnn.kernels.statements import with_fields
from autotune_qnn.kernels.tiles import ANNOTATION, TileKnobs, TileProblem, UnfitForTiles, write_tiles
from autotune_qnn.kernels.tiles.reading import find_blocks


def _without(block: Any, body: Any, buffer: Any) -> Any:
    """A block with another body and without one of its buffers."""
    buffers = [kept for kept in block.alloc_buffers if not kept.same_as(buffer)]
    return with_fields(block, body=body, alloc_buffers=buffers)


def _replaced(root: Any, problem: TileProblem, code: Any) -> Any:
    """The root block with `code` in the place of the output's loops, and without those of the sums."""
    statements = list(root.body.seq)
    of_products = [part for part in statements if problem.products.name_hint in find_blocks(part)]
    of_output = [part for part in statements if problem.output.name_hint in find_blocks(part)]
    if len(of_products) != 1 or len(of_output) != 1 or of_products[0].same_as(of_output[0]):
        raise UnfitForTiles("the loops of sums and output are not next to each other")
    kept = [
        code if part.same_as(of_output[0]) else part
        for part in statements
        if not part.same_as(of_products[0])
    ]
    return _without(root, kept[0] if len(kept) == 1 else tirx.SeqStmt(kept), problem.sums)


@tirx.transform.prim_func_pass(opt_level=0, name="autotune_qnn.AmxTiles")
def amx_tiles(func: Any, _mod: Any, _context: Any) -> Any:
    """Rewrite a PrimFunc whose block "conv" is annotated with the knobs of its tiles; BuildError where it cannot be."""
    block = find_blocks(func.body).get("conv")
    if block is None or ANNOTATION not in block.annotations:
        return func
    knobs = TileKnobs.of(list(block.annotations[ANNOTATION]))
    try:
        if knobs is None:
            raise UnfitForTiles(f"the knobs {block.annotations[ANNOTATION]}")
        problem = TileProblem.of(func)
        layout = problem.layout(knobs)
        root = _replaced(func.body.block, problem, write_tiles(problem, layout, knobs))
    except UnfitForTiles as error:
        raise BuildError(f"a convolution cannot be computed on tiles: {error}") from None
    return func.with_body(s_tir.SBlockRealize(func.body.iter_values, func.body.predicate, root))

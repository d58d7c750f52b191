"""The passes from a scheduled PrimFunc to LLVM: TVM's own for a CPU, `amx_tiles`, `stack_accumulators` and others.

Passes that only other devices need are left out, which also halves the time of a build.
"""

from __future__ import annotations

from typing import Any

import tvm
from tvm import s_tir, tirx
from tvm.tirx import compilation_pipeline

from autotune_qnn.transforms.align_stack import align_stack
from autotune_qnn.transforms.amx_tiles import amx_tiles
from autotune_qnn.transforms.pack_stores import pack_stores
from autotune_qnn.transforms.pair_products import pair_products
from autotune_qnn.transforms.prefetch import prefetch_weights
from autotune_qnn.transforms.stack_accumulators import stack_accumulators
from autotune_qnn.transforms.subroutines import hide_subroutines, lower_subroutines
from autotune_qnn.transforms.tails import cut_tails
from autotune_qnn.transforms.weave import weave
from autotune_qnn.transforms.wrapping import complete_wrapping

PIPELINE = "autotune_qnn"
"""The name under which `tvm.compile(..., tir_pipeline=...)` finds these passes."""


def _lowering_passes() -> list[Any]:
    return [
        hide_subroutines,
        amx_tiles,
        s_tir.transform.CanonicalizeLoop(),
        s_tir.transform.LowerInitBlock(),
        s_tir.transform.PlanAndUpdateBufferAllocationLocation(),
        s_tir.transform.ConvertBlocksToOpaque(),
        s_tir.transform.CompactBufferAllocation(),
        s_tir.transform.LowerMatchBuffer(),
        s_tir.transform.StmtSimplify(),
        s_tir.transform.AnnotateIrregularLoop(),
        s_tir.transform.LowerOpaqueBlock(),
        tirx.transform.FlattenBuffer(),
        tirx.transform.NarrowDataType(32),
        s_tir.transform.LoopPartition(),
        cut_tails,
        tirx.transform.VectorizeLoop(True),
        tirx.transform.StorageRewrite(),
        s_tir.transform.HoistIfThenElse(),
        tirx.transform.UnrollLoop(),
        prefetch_weights,
        pair_products,
        pack_stores,
        weave,
        s_tir.transform.RenormalizeSplitPattern(),
        tirx.transform.StmtSimplify(),
        tirx.transform.RemoveNoOp(),
        s_tir.transform.RewriteUnsafeSelect(),
        tirx.transform.CommonSubexprElim(),
        complete_wrapping,
        tirx.transform.VerifyMemory(),
        tirx.transform.AnnotateEntryFunc(),
        tirx.transform.SplitHostDevice(),
        tirx.transform.MakePackedAPI(),
        lower_subroutines,
        stack_accumulators,
        align_stack,
    ]


def _pipeline() -> tuple[Any, Any, Any]:
    @tvm.transform.module_pass(opt_level=0, name="autotune_qnn.LowerToLLVM")
    def lower(mod: Any, _context: Any) -> Any:
        return tvm.ir.transform.Sequential(_lowering_passes())(mod)

    return lower, s_tir.pipeline.finalize_host_passes, s_tir.pipeline.finalize_device_passes


def register() -> str:
    """Make the pipeline known to TVM under `PIPELINE`; idempotent. Returns that name."""
    compilation_pipeline.PIPELINE_MAP[PIPELINE] = _pipeline
    return PIPELINE


def compile_kernel(mod: Any, target: Any) -> Any:
    """Compile an IRModule of scheduled PrimFuncs for a `tvm.target.Target` into a `tvm.runtime.Module`."""
    return tvm.tirx.build(mod, target=target, pipeline=register())

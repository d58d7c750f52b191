"""The passes from a module in the QNN dialect to unscheduled kernels, in order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tvm
from tvm import relax

from autotune_qnn.kernels.isa import DotShape
from autotune_qnn.transforms.concatenations import separate_inputs
from autotune_qnn.transforms.legalizations import LEGALIZATIONS
from autotune_qnn.transforms.lower_groups import GroupLowering, LoweredKernel

Dump = Callable[[str, Any], None]
"""Receives each phase's name and module, for whoever wants to look at them."""


def lower_plain_operators(mod: Any, target: Any) -> Any:
    """Turn what remains of plain Relax operators into kernels, fusing float chains; ours stay as they are."""
    passes = [
        relax.transform.LegalizeOps(LEGALIZATIONS),
        relax.transform.AnnotateTIROpPattern(),
        relax.transform.FoldConstant(),
        relax.transform.FuseOps(),
        relax.transform.FuseTIR(),
        relax.transform.DeadCodeElimination(),
    ]
    with target:
        return tvm.ir.transform.Sequential(passes)(mod)


def to_kernels(
    mod: Any, dot: DotShape, target: Any, dump: Dump | None = None
) -> tuple[Any, dict[str, LoweredKernel]]:
    """Lower a module in the QNN dialect to one whose "main" only calls kernels.

    Returns the module, and the kernels built from QNN operators by the name of their global function; other
    PrimFuncs come from plain Relax operators.
    """
    lowering = GroupLowering(separate_inputs(mod), dot)
    grouped = lowering.run()
    if dump is not None:
        dump("grouped", grouped)
    kernels = {lowered.function: lowered for lowered in lowering.kernels.values()}
    lowered = lower_plain_operators(grouped, target)
    if dump is not None:
        dump("lowered", lowered)
    return lowered, kernels

"""Compiles a module of scheduled kernels: memory planned statically, no layout change, no further fusion."""

from __future__ import annotations

from typing import Any

import tvm
from tvm import relax

from autotune_qnn.engines.relax.target import TargetSpec
from autotune_qnn.errors import BuildError, last_line
from autotune_qnn.transforms.network_function import network_function
from autotune_qnn.transforms.tir_pipeline import register


def _passes() -> list[Any]:
    return [
        relax.transform.RewriteDataflowReshape(),
        relax.transform.ToNonDataflow(),
        relax.transform.RemovePurityChecking(),
        relax.transform.CallTIRRewrite(),
        network_function,
        relax.transform.StaticPlanBlockMemory(),
        relax.transform.LowerAllocTensor(),
        relax.transform.KillAfterLastUse(),
        relax.transform.LowerRuntimeBuiltin(),
        relax.transform.ComputePrimValue(),
        relax.transform.VMShapeLower(),
        relax.transform.AttachGlobalSymbol(),
    ]


def compile_module(mod: Any, target: TargetSpec) -> Any:
    """Compile to a `tvm.relax` executable, which `export_library` writes as a shared object.

    Raises BuildError where TVM or LLVM refuses the module.
    """
    pipeline = tvm.ir.transform.Sequential(_passes())
    try:
        return tvm.relax.build(
            mod, target.tvm(), relax_pipeline=pipeline, tir_pipeline=register(), exec_mode="compiled"
        )
    except (RuntimeError, ValueError, TypeError) as error:
        raise BuildError(
            f"the module does not compile for {target.canonical!r}: {last_line(error)}"
        ) from error

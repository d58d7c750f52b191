"""Import MetaSchedule without TVM's GPU intrinsics.

`tvm.s_tir.meta_schedule.TuneContext` imports `tvm.s_tir.tensor_intrin`, whose CUDA, ROCm, Hexagon and Metal
files parse hundreds of TVMScript functions when they are imported: tens of seconds of CPU time in every
process. A CPU needs none of them. `install` puts empty modules in their places, which the package's own
import then finds. It does nothing where the package has been imported already, and leaves the intrinsics of
this machine's CPU alone.
"""

from __future__ import annotations

import platform
import sys
import types

_PACKAGE = "tvm.s_tir.tensor_intrin"
_ACCELERATORS = ("cuda", "rocm", "hexagon", "metal")
_OTHER_CPUS = {
    "x86_64": ("arm_cpu", "riscv_cpu"),
    "aarch64": ("x86", "riscv_cpu"),
}


def install() -> None:
    """Stand in for intrinsic files that this machine's CPU cannot use. Safe to call more than once."""
    if _PACKAGE in sys.modules:
        return
    for name in (*_ACCELERATORS, *_OTHER_CPUS.get(platform.machine(), ())):
        sys.modules.setdefault(f"{_PACKAGE}.{name}", types.ModuleType(f"{_PACKAGE}.{name}"))

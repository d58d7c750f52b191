"""PyTorch's successor of quantized TorchScript: PT2E with the quantizer for x86, compiled ahead by Inductor."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from benchmarks.lib.engines.base import Running
from benchmarks.lib.engines.torch_engine import TorchEngine, prepare_process, running
from benchmarks.lib.job import Job
from benchmarks.lib.source import Source

_PACKAGE = "network.pt2"


class Inductor(TorchEngine):
    """A package of AOTInductor with frozen weights; its code depends on the number of threads."""

    packages = (*TorchEngine.packages, "torchao")
    per_threads = True

    def prepare(self, job: Job, source: Source, folder: Path) -> None:
        """Export, quantize, compile."""
        import torch

        warnings.simplefilter("ignore")
        torch.set_num_threads(job.threads)
        with torch.no_grad():
            program, example = _quantized(job)
            torch._inductor.aoti_compile_and_package(
                torch.export.export(program, (example,)),
                package_path=str(folder / _PACKAGE),
                inductor_configs={"freezing": True},
            )

    def load(self, job: Job, source: Source, folder: Path) -> Running:
        """The package's code, without Python between its kernels."""
        import torch

        prepare_process(job.threads)
        network = torch._inductor.aoti_load_package(str(folder / _PACKAGE))
        return running(network, "PT2E, X86InductorQuantizer, AOTInductor")


def _quantized(job: Job) -> tuple[Any, Any]:
    """The quantized program and an example of its input."""
    import torch
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

    from benchmarks.lib import torch_forms

    batches = [torch.from_numpy(data) for data in torch_forms.calibration(job.model, job.batch)]
    quantizer = x86.X86InductorQuantizer().set_global(x86.get_default_x86_inductor_quantization_config())
    program = torch.export.export(torch_forms.float_module(job.model), (batches[0],)).module()
    prepared = prepare_pt2e(program, quantizer)
    for data in batches:
        prepared(data)
    return convert_pt2e(prepared), batches[0]

"""Networks quantized by PT2E and saved as exported programs."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

QUANTIZERS = ("x86", "xnnpack")


def quantizer(name: str, *, per_channel: bool = True) -> Any:
    """One of torchao's quantizers with its static configuration."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if name == "x86":
            from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

            return x86.X86InductorQuantizer().set_global(x86.get_default_x86_inductor_quantization_config())
        from torchao.testing.pt2e._xnnpack_quantizer import (
            XNNPACKQuantizer,
            get_symmetric_quantization_config,
        )

        return XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=per_channel))


def quantized_program(network: Any, calibration: Sequence[Any], chosen: Any, path: Path) -> Path:
    """Exports a float network, quantizes it by what it does on the calibration inputs, and saves the program."""
    import torch
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    example = (calibration[0],)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        prepared = prepare_pt2e(torch.export.export(network.eval(), example).module(), chosen)
        for values in calibration:
            prepared(values)
        converted = convert_pt2e(prepared)
        torch.export.save(torch.export.export(converted, example), str(path))
    return path

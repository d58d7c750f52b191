"""The quantized TensorFlow Lite models of ../shared."""

from __future__ import annotations

MODELS = (
    "ad01_int8",
    "kws_ref_model",
    "mobilenet_v2_1.0_224_ptq_int8_per_channel",
    "mobilenet_v2_1.0_224_quant_uint8",
    "pretrainedResnet_quant",
    "vww_96_int8",
)

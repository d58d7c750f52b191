"""Exported programs (PT2E): float operators between quantize and dequantize, raised to integers."""

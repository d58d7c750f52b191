"""Named pre-quantized models of each source framework."""

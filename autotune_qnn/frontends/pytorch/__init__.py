"""PyTorch models: TorchScript files and exported programs into the QNN dialect, and PyTorch itself as the
reference.
"""

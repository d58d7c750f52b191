"""Passes from the QNN dialect to scheduled kernels, one a file; `pipeline` lists them in order."""

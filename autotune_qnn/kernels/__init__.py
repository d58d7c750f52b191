"""Integer TensorIR kernels, their intrinsics and their schedule templates."""

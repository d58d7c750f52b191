"""Loading and running exported libraries; needs nothing but TVM's runtime and NumPy."""

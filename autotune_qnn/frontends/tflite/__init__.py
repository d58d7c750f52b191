"""TensorFlow Lite models: `.tflite` files into the QNN dialect, and TFLite's own interpreter as the
reference.
"""

"""Building a model with the best of its history, and what is written beside the library."""

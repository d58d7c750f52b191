"""Search strategies: expert-written templates, and generated sketches."""

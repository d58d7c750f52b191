"""Data, preprocessing, measurement and metrics of the report."""

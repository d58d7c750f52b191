"""Programs that measure this package, and what they share."""

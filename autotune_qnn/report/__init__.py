"""The report of a run: one dataclass, written as JSON and as a table."""

"""Task tuning: search strategies, cost models, builders and runners, and the loop that joins them.

`autotune_qnn.tuning.tuner.tune` runs it all; worker processes import parts of this package, so that nothing
is imported here.
"""

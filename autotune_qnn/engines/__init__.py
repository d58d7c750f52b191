"""Engines that lower, tune and build the dialect's modules."""

"""Benchmarks of the gate; nothing here is installed with the package."""

"""The methods that are compared, each run in a process of its own: `python -m benchmarks.peer_methods.NAME …`."""

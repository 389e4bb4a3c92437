"""The parts of the speed benchmark: each measures one thing within one process, and returns plain values."""

"""Everything inside the worker: loads a candidate, optimises triggers against it, measures. Never judges."""

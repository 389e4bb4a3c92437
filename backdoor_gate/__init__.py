"""The gate between a trained model and production: load, measure for backdoors, decide, say why."""

__version__ = "0.1.0"

"""Where verdicts are written back."""

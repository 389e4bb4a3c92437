"""Simulate the null of the anomaly index and write the table that the gate ships.

A clean network's class statistics are taken as K independent draws of a normal on the log scale; the index is the
largest deviation from the median on one side, in consistent MAD units (1.4826 · MAD). Run from the repository's root:

    python -m benchmarks.null_table

Writes `backdoor_gate/verdict/null_table.json`: for every K, the index that is exceeded with each tail probability.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

CLASSES = (*range(3, 33), 36, 40, 43, 50, 64, 80, 100, 101, 128, 150, 200, 256, 365, 500, 1000)
TAILS = (0.5, 0.3, 0.2, 0.1, 0.05, 0.03, 0.02, 0.01, 0.005, 0.003, 0.002, 0.001, 0.0005, 0.0002, 0.0001)
CONSISTENCY = 1.4826
DRAWS = 60_000_000
MOST_RUNS = 2_000_000
SEED = 20261120
TARGET = Path(__file__).parent.parent / "backdoor_gate" / "verdict" / "null_table.json"


def simulate(classes: int, generator: np.random.Generator) -> np.ndarray:
    """Return simulated indices of one side, (runs,)."""
    runs = min(MOST_RUNS, max(200_000, DRAWS // classes))
    indices = []
    chunk = max(1, 4_000_000 // classes)
    for start in range(0, runs, chunk):
        values = generator.standard_normal((min(chunk, runs - start), classes), dtype=np.float32)
        deviation = np.median(values, axis=1, keepdims=True) - values
        spread = CONSISTENCY * np.median(np.abs(deviation), axis=1)
        indices.append(deviation.max(axis=1) / spread)
    return np.concatenate(indices)


def main() -> None:
    """Simulate every K and write the table."""
    generator = np.random.default_rng(SEED)
    rows = {}
    for classes in CLASSES:
        quantiles = np.quantile(simulate(classes, generator), 1 - np.asarray(TAILS))
        rows[str(classes)] = [round(float(value), 4) for value in quantiles]
        print(classes, rows[str(classes)], flush=True)
    TARGET.write_text(json.dumps({"seed": SEED, "tails": TAILS, "index": rows}, indent=None) + "\n")


if __name__ == "__main__":
    main()

"""Judge measured networks and tell how often the verdict is right.

    python -m benchmarks.quality FILE... [--name NAME]

Reads raw class vectors as `benchmarks.measure` writes them, judges each network with the shipped verdict and policy,
and writes `benchmarks/results/quality-NAME.json` and `.md`: false blocks among clean networks, blocks and right
targets by attack family (with Clopper-Pearson intervals), the coverage matrix of detector and family, seconds and
passes; of the whole decision's score ROC (also as `roc-NAME.svg`), AUROC, detection at 1 % and 5 % false blocks,
cross-entropy, and how well ranks among clean networks keep their rate; and what of this holds for an attack family or
a dataset left out. Only networks whose attack works (success of 0.8 or more) count as backdoored. Nothing here needs
the networks.
"""

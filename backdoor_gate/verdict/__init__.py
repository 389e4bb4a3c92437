"""Judging: evidence and a policy in, a decision out. Pure, without tensors and without I/O."""

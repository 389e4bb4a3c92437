"""Finds what is wrong with a machine, a policy or clean images before a scan measures nonsense with them.

Facts come from the locked worker; what they mean, and what to try, is said here.
"""

from __future__ import annotations

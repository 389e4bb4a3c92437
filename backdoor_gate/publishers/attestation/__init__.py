"""Signed statements: what was judged, by which policy, with which result, so that a tag can be believed."""

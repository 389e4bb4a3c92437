"""The network under audit: how images are put through it, fast and exactly, and what its layers get to see."""

"""What happens to a verdict after the scan: it is verified, and a version is promoted on it."""

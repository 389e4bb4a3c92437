"""Changes of the images that detectors try out one by one, where others search, and how far these push."""

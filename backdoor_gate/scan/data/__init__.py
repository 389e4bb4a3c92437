"""The images that a scan works with, clean or made, and what they say of the model's input and classes."""

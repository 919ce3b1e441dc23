"""The card, the CPU and the libraries that run on it."""

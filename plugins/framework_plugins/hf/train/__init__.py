"""One training: steps, memory retries, the best weights, and several processes."""

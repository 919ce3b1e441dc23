"""Loss and log-probabilities of rows without training."""

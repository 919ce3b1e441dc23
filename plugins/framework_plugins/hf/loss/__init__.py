"""The training loss, in chunks of the vocabulary."""

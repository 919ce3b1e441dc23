"""A base and its adapter, from the folder or the Hub into memory."""

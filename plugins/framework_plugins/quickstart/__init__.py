"""A small real model and data that need no hub: what `make quickstart` runs on."""

"""Unsloth as a switch: `trainer=unsloth` is `trainer=hf` on a model that Unsloth loads and patches."""

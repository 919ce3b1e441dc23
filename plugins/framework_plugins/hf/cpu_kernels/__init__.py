"""The products of a layer with fewer passes over memory, for CPUs, where memory bounds a step, not arithmetic.

Each is a function with a backward pass of its own that computes what autograd would, keeps less and rounds no more
often. `install.py` puts them into a model if they give the same as its own layers. They are in `hf` and not in a plugin
of their own, because `install.py` is called in the middle of a load.
"""

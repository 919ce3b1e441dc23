"""The products of a layer with fewer passes over memory, for CPUs, where memory bounds a step, not arithmetic.

Each is a function with a backward pass of its own that computes what autograd would, keeps less and rounds no more
often. `install.py` puts them into a model where they were seen to give the same as what stands there.
"""

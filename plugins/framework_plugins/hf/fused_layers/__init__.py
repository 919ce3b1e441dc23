"""The layers of a model with an adapter as functions that pass over memory less often.

Each is a function with a backward pass of its own that computes what autograd would, keeps less and rounds no more
often. `install.py` puts them into a model if they give the same as its own layers, on its device and in its dtype. They
are in `hf` and not in a plugin of their own, because `install.py` is called in the middle of a load.
"""

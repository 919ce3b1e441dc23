"""Several rows in one forward pass: side by side with padding, or as a tree in which a common beginning is there once.

`tree.py` finds the tree, `parts.py` decides what goes into one pass, `tree_attention.py` computes along the
branches, and `eligibility.py` says for which models that is the same training.
"""

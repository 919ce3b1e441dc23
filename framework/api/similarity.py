"""Texts that are nearly the same, among a few or among millions: shared words, and MinHash to find candidates."""

from framework.util.minhash import SIMILARITY
from framework.util.minhash import group as group_similar
from framework.util.text_features import WORD, Features, common_features, features, similarities

__all__ = ["SIMILARITY", "WORD", "Features", "common_features", "features", "group_similar", "similarities"]

"""Compare many texts by their words and pairs of neighbouring words: shares in common, and near-duplicates.

vectors = similarity.features(texts, similarity.common_features(lambda: [texts], len(texts)))
"""

from framework.util.minhash import SIMILARITY, group
from framework.util.text_features import WORD, as_read, common_features, features, similarities

__all__ = ["SIMILARITY", "WORD", "as_read", "common_features", "features", "group", "similarities"]

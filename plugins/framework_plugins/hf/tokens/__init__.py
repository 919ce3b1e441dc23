"""From a conversation to tokens and to those that are learned; each row is proven."""

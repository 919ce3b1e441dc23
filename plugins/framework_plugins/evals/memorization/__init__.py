"""Whether the rows that a model was trained on are recited: `evaluator=memorization` and what it comes to."""

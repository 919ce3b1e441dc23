"""The metrics, a module each. Most score one answer by its text; the others are `protocols.AnswerMetric`s."""

"""The metrics, a module each. Most score one answer by its text; the others see all answers, `protocols.AnswerMetric`."""

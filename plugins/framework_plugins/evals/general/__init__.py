"""The general suite: questions, instructions and texts of our own writing, as local tasks of lm-eval."""

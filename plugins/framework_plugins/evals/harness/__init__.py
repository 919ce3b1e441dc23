"""`evaluator=lm_eval`: tasks of lm-evaluation-harness on the model that is in memory."""

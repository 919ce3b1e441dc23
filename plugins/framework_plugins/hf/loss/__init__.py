"""The loss of a pass, the probe that finds out what a model allows, and how a pass needs less memory."""

"""What the plan needs to know of the training libraries, without torch."""

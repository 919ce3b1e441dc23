"""A callback: a lower learning rate once the loss no longer falls."""

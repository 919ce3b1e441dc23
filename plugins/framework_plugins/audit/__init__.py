"""What is looked for in the data before training: `audit=standard`."""

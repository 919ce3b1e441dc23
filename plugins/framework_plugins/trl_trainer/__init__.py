"""TRL as it is: `trainer=trl` gives the rows of a run to a trainer of TRL, and leaves its training to it."""

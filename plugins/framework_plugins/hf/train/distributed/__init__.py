"""Training in a group of processes: each takes a part of a step's rows, and all end with the same weights."""

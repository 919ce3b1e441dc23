"""Logger: a page that shows what a run was and whether it was worth it."""

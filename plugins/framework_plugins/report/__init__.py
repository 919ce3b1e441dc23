"""Logger: a page with the settings, the results and the verdict of a run."""

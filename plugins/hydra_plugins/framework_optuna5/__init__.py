"""Where Hydra looks for sweepers; the work is done in `framework_sweeps`."""

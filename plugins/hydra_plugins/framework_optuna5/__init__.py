"""Where Hydra looks for sweepers; the work is done in `framework_plugins.sweeps`."""

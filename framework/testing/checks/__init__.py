"""What `check_plugin` looks at, one module for each kind of problem. Each takes a plugin and gives sentences."""

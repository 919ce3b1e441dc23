"""The first-party plugins. Like third-party plugins, they have entry points and import only the public API."""

"""The first-party plugins. Each is found by its entry point, like a third-party plugin, and imports only the public API."""

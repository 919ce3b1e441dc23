"""What several first-party plugins share. It knows no plugin, and registers nothing."""

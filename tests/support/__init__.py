"""What several tests share: a Hub on loopback, tiny models and a reader for offline W&B runs."""

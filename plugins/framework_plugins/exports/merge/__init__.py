"""An adapter merged into its base, written as safetensors."""

"""Training with Hugging Face's libraries: transformers, peft, TRL, bitsandbytes."""

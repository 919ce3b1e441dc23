"""From a transformers folder or a peft adapter to GGUF, by llama.cpp's own converter, in a process of its own."""

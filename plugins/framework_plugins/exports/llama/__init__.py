"""llama.cpp: GGUF files are quantized, opened and asked by the code that will run them."""

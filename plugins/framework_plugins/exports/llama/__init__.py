"""llama.cpp: GGUF files are quantized, opened and evaluated by the code that will run them."""

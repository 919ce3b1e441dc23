"""`exporter=ollama`: a Modelfile for a GGUF file, whose own chat template Ollama renders."""

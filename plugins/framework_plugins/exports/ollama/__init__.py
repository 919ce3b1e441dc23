"""`exporter=ollama`: a Modelfile, with a TEMPLATE that is proven to write what the chat template writes."""

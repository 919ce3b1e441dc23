module ollama

go 1.21

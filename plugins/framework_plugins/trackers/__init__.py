"""Loggers: the terminal, a file, Weights & Biases, TensorBoard, MLflow."""

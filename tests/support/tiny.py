"""Tiny random models with real tokenizers, and rows to train them on: those that the tests of a GPU bring along."""

from framework_gpu_tests.tiny import chat_rows, tiny_chatml, tiny_llama

__all__ = ["chat_rows", "tiny_chatml", "tiny_llama"]

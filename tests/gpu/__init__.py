"""Tests of one CUDA card, `make test-gpu`; on the CPU the same bodies run in the default suite."""

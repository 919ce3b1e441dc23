"""Tests of framework/health."""

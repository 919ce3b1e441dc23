"""Tests of framework/memory."""

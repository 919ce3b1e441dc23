"""Tests of framework/, one file for each module."""

"""Checks of the data before training: `audit=standard`."""

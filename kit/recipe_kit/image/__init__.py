"""Checks that only images have."""

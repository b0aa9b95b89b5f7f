"""Checks that only texts have."""

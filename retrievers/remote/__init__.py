"""Engines behind a network, one file each, and what they share."""

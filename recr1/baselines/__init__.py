"""Rivals of a trained policy, and bounds that read the answers."""

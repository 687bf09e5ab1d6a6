"""Rewards about the query itself: its form, its length, and guards against query hacking."""

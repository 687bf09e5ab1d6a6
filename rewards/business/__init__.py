"""Rewards about the shop: worth, and needs that are not all sent to the same items."""

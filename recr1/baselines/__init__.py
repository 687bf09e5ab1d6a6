"""Baselines: policies to compare a trained one with, and ceilings that read the answer keys."""

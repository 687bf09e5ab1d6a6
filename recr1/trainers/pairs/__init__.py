"""Pairs of a need and a good answer, for supervised fine-tuning."""

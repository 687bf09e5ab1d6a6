"""Rewards that shape a measure: by rank, over training, against the raw need, over several retrievers."""

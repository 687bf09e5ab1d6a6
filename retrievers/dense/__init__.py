"""Search by vectors: encoders, exact and approximate indexes."""

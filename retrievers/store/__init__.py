"""Indexes and embeddings on disk, shared by processes."""

"""Retrievers made of retrievers: fused, reranked, cached."""

"""Milvus: a cluster or an embedded database."""

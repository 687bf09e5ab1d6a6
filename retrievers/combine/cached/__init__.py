"""A retriever that remembers hits, in memory and on disk."""

"""Recommenders: retrievers whose query is a history, the catalog rows of what a user took before."""

"""Tasks of data sets that the field publishes, read as they are on disk."""

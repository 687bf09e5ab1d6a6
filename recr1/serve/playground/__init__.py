"""The playground: a local page on which a person compares what a need and its rewrite find, and marks the better."""

"""BM25 in this process: postings, compiled search, and the library rank-bm25."""

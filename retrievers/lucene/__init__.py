"""Lucene in this process, through pyserini's jar."""

"""What exists and how it is ranked: catalogs and the retrievers that search them."""

from retrievers.base import Catalog, Floats, Hits, Query, Retriever, Rows

BUILTIN = {
    "bm25": "retrievers.bm25:BM25",
    "rank_bm25": "retrievers.rank_bm25:RankBM25",
    "lucene": "retrievers.lucene:Lucene",
    "http": "retrievers.http:HTTP",
    "opensearch": "retrievers.opensearch:OpenSearch",
    "elasticsearch": "retrievers.elasticsearch:Elasticsearch",
    "postgres": "retrievers.postgres:Postgres",
    "milvus": "retrievers.milvus:Milvus",
    "dense": "retrievers.dense:Dense",
    "hybrid": "retrievers.hybrid:Hybrid",
    "cached": "retrievers.cache:Cached",
    "service": "retrievers.service:Service",
    "rerank": "retrievers.rerank:Rerank",
}
"""Retrievers by the name that a recipe uses; the classes are imported when they are asked for."""

__all__ = ["BUILTIN", "Catalog", "Floats", "Hits", "Query", "Retriever", "Rows"]

"""What exists and how it is ranked: catalogs and the retrievers that search them."""

from retrievers.base import Catalog, Floats, Hits, Query, Retriever, Rows
from retrievers.parts import Kind, Parts

BUILTIN = {
    "bm25": "retrievers.bm25.bm25:BM25",
    "rank_bm25": "retrievers.bm25.rank_bm25:RankBM25",
    "lucene": "retrievers.lucene.lucene:Lucene",
    "http": "retrievers.remote.http:HTTP",
    "opensearch": "retrievers.remote.opensearch:OpenSearch",
    "elasticsearch": "retrievers.remote.opensearch:Elasticsearch",
    "postgres": "retrievers.remote.postgres:Postgres",
    "milvus": "retrievers.remote.milvus:Milvus",
    "dense": "retrievers.dense.dense:Dense",
    "hybrid": "retrievers.combine.hybrid:Hybrid",
    "cached": "retrievers.combine.cached:Cached",
    "service": "retrievers.service.client:Service",
    "rerank": "retrievers.combine.rerank:Rerank",
    "popularity": "retrievers.behaviour.popularity:Popularity",
    "item_knn": "retrievers.behaviour.item_knn:ItemKNN",
    "als": "retrievers.behaviour.als:ALS",
    "ease": "retrievers.behaviour.ease:EASE",
    "content": "retrievers.behaviour.content:Content",
    "multvae": "retrievers.behaviour.multvae:MultVAE",
    "personas": "retrievers.behaviour.personas:Personas",
    "vqrec": "retrievers.behaviour.vqrec:VQRec",
    "history_text": "retrievers.behaviour.history_text:HistoryText",
}
"""Retrievers by the name that a recipe uses; the classes are imported when they are asked for."""

PARTS = Parts(
    {
        "retriever": Kind("retrievers", ("search",), takes=1),
        "encoder": Kind("retrievers.dense.encoders", ("encode_items", "encode_queries")),
        "scorer": Kind("retrievers.combine.rerank", ("score",)),
    }
)
"""What a retriever may be made of; `PARTS.build("retriever", {"type": "bm25"}, catalog)` builds one."""

__all__ = ["BUILTIN", "PARTS", "Catalog", "Floats", "Hits", "Query", "Retriever", "Rows"]

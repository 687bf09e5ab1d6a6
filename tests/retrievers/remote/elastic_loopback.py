"""The part of the protocol of OpenSearch and Elasticsearch that the retrievers speak, played by a process on loopback.

It is no such engine: answers have the fields that the engines' documentation gives for these requests, and the score of
an item is 1.5 times the different words that it shares with the query, times the weight of the field. A fault may say
`"at": "_bulk"` for the requests that it is for; otherwise it is for a search.
"""

from __future__ import annotations

import json
from typing import ClassVar
from urllib.parse import urlsplit

from tests.retrievers.remote.loopback import Handler, scores, serve

SHARDS = {"total": 1, "successful": 1, "skipped": 0, "failed": 0}


class ElasticHandler(Handler):
    indexes: ClassVar[dict[str, dict]] = {}

    def do_POST(self):
        raw = self.rfile.read(int(self.headers.get("content-length", 0)))
        path = urlsplit(self.path).path
        if path.startswith("/indexes/"):  # an index of somebody else
            self.indexes[path.removeprefix("/indexes/")] = json.loads(raw)
            return self.answer({})
        if path == "/faults":
            with self.lock:
                self.faults[:], self.log[:] = json.loads(raw), []
            return self.answer({})
        self.speak(path, raw)

    def do_GET(self):
        if self.path == "/log":
            return self.answer(self.log)
        self.do_POST()

    def do_PUT(self):
        self.do_POST()

    def speak(self, path, raw):
        _, index, *rest = path.split("/")
        what = rest[0] if rest else "create"
        body = [json.loads(line) for line in raw.splitlines()] if what == "_bulk" else json.loads(raw or "null")
        with self.lock:
            request = {"do": f"{self.command} {self.path}", "headers": dict(self.headers), "body": body}
            self.log.append(request)
            fits = [fault for fault in self.faults if fault.get("at", "_search") == what]
            fault = fits[0] if fits else {}
            if fits:
                self.faults.remove(fault)
            answered = getattr(self, what.lstrip("_"))(index, body)
        self.answer(*answered[:1], {**(answered[1] if len(answered) > 1 else {}), **fault})

    def create(self, index, body):
        if index in self.indexes:
            reason = f"index [{index}/q0Jb3n] already exists"
            cause = {"type": "resource_already_exists_exception", "reason": reason, "index": index}
            return {"error": {"root_cause": [cause], **cause}, "status": 400}, {"status": 400}
        self.indexes[index] = {"mappings": dict(body["mappings"]), "docs": {}}
        return ({"acknowledged": True, "shards_acknowledged": True, "index": index},)

    def mapping(self, index, body):
        if self.command == "PUT":
            self.indexes[index]["mappings"] |= body
            return ({"acknowledged": True},)
        return ({index: {"mappings": self.indexes[index]["mappings"]}},)

    def bulk(self, index, body):
        items = []
        for action, document in zip(body[::2], body[1::2], strict=True):
            self.indexes[index]["docs"][action["index"]["_id"]] = document
            items.append(
                {"index": {"_index": index, "_id": action["index"]["_id"], "result": "created", "status": 201}}
            )
        return ({"took": 3, "errors": False, "items": items},)

    def refresh(self, index, body):
        return ({"_shards": SHARDS},)

    def count(self, index, body):
        return ({"count": len(self.indexes[index]["docs"]), "_shards": SHARDS},)

    def search(self, index, body):
        docs = self.indexes[index]["docs"]
        query = body["query"]["multi_match"]
        found = {}
        for field, _, weight in (name.partition("^") for name in query["fields"]):
            shared = scores([document.get(field, "") for document in docs.values()], query["query"])
            for place, score in shared.items():
                found[place] = found.get(place, 0) + score * float(weight or 1)
        names = list(docs)
        tiebreak = [next(iter(key)) for key in body.get("sort", [])[1:]]
        keys = {place: [-found[place], *(docs[names[place]][field] for field in tiebreak)] for place in found}
        hits = [
            {"_index": index, "_id": names[place], "_score": found[place]}
            | ({"_source": {name: docs[names[place]][name] for name in body["_source"]}} if body["_source"] else {})
            for place in sorted(found, key=keys.__getitem__)[: body["size"]]
        ]
        best = max(found.values(), default=None)
        return ({"took": 2, "timed_out": False, "_shards": SHARDS, "hits": {"max_score": best, "hits": hits}},)

    def end_headers(self):
        self.send_header("X-Elastic-Product", "Elasticsearch")
        super().end_headers()


if __name__ == "__main__":
    serve(ElasticHandler)

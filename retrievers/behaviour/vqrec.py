"""VQ-Rec: texts become codes, codes become vectors, and the last items of a history say what is next."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from retrievers import PARTS
from retrievers.base import Catalog, Floats
from retrievers.behaviour.base import Fitted, History, events_in
from retrievers.behaviour.learned import Learned, Weights
from retrievers.dense.approximate import PQ_CENTROIDS, library
from retrievers.dense.encoders import Encoder
from retrievers.dense.vectors import embedded, on_grid
from retrievers.options import PositiveFloat, PositiveInt, PositiveShare, checked

_log = logging.getLogger(__name__)


@checked
@dataclass(kw_only=True, eq=False, repr=False)
class VQRec(Learned):
    """The next item, from codes of texts. Every item with a text is found, also one that nobody took yet.

    A text's vector is rotated and cut into `parts`, and each part is replaced by the number of the nearest of 256
    centroids (OPQ and PQ of FAISS). Part d with number c has a learned vector E[d, c]; an item is the mean of its own,
    and a user the mean of the `last` items of the history, the one n places from the end weighted `decay`^n. The score
    is their cosine / `temperature`, and is learned with a softmax over all items. (Hou, He, McAuley and Zhao, "Learning
    Vector-Quantized Item Representation for Transferable Sequential Recommenders", WWW 2023, whose user is a
    transformer's.) Items with the same codes have the same score and are in the order of their rows; `codes/shared`
    among the statistics is the share of items with codes that another item has too.
    """

    name: ClassVar[str] = "vqrec"

    encoder: dict[str, Any] | None = None
    """What makes vectors of texts, as in `dense`: {type: hashing}."""
    features: Literal["codes", "text", "ids"] = "codes"
    """Of items, for comparison: "text" puts text vectors through two layers, "ids" learns a free vector for each."""
    field: str = "texts"
    """The field of the catalog that is encoded."""
    parts: PositiveInt = 32
    """Codes of an item."""
    dim: PositiveInt = 64
    """Numbers of an item's vector."""
    last: PositiveInt = 10
    """Items of the history that are read."""
    decay: PositiveShare = 0.8
    """How much less an item weighs than the one after it."""
    temperature: PositiveFloat = 0.07
    """Divides the cosine."""
    examples: PositiveInt = 5
    """Next items of a user in an epoch, at places that are drawn."""
    learning_rate: PositiveFloat = 3e-3
    """Of Adam."""

    def __post_init__(self, catalog: Catalog) -> None:
        self._inputs: NDArray[Any] = np.zeros(0)
        self._made_of: dict[str, Any] = {}
        self._readable_N: NDArray[np.bool_] | None = None
        self._shared: dict[str, float] = {}
        if self.encoder is not None:
            self._read_texts(catalog, PARTS.build("encoder", self.encoder))
        super().__post_init__(catalog)

    @classmethod
    def check_options(cls, options: Mapping[str, Any]) -> list[str]:
        """Libraries that are missing, and whether there is an encoder exactly where texts are read."""
        if missing := super().check_options(options):
            return missing
        features, given = options.get("features", "codes"), options.get("encoder") is not None
        if features == "ids" and given:
            return ["encoder: features ids does not read it; leave it out"]
        return (
            [] if given or features == "ids" else [f"encoder: features {features} needs one, such as {{type: hashing}}"]
        )

    @property
    def stats(self) -> Mapping[str, float]:
        """As of all that learn; also the share of items whose codes another item has."""
        return {**super().stats, **self._shared}

    @property
    def codes(self) -> NDArray[np.uint8]:
        """(N, parts) the codes of the items; of no meaning with other features, and for an item without a text."""
        return self._inputs

    def item_vectors(self) -> Floats:
        """(N, dim) unit vectors of the items."""
        vectors: Floats = self._weights["vectors"].float().numpy()
        return vectors

    def _read_texts(self, catalog: Catalog, encoder: Encoder) -> None:
        self._inputs = vectors_ND = embedded(catalog, self.field, encoder, self.store)
        self._made_of = {"field": self.field, "encoder": dict(encoder.identity)}
        self._readable_N = readable_N = np.asarray(vectors_ND.any(axis=1))
        if not readable_N[events_in(catalog)["row"]].any():
            raise ValueError(
                f"field: no item with a training event has a text in {self.field!r}, so that nothing can be learned; "
                "name another field"
            )
        if self.features == "text":
            return
        self._made_of |= {"parts": self.parts, "faiss": library().__version__}
        fit = lambda: {"codes": codes_of(vectors_ND, self.parts)}  # noqa: E731 - called once, or never
        self._inputs = np.array(Fitted(catalog, "codes", self._made_of, ("numpy",), fit, self.store)["codes"])
        _, which, counts = np.unique(self._inputs[readable_N], axis=0, return_inverse=True, return_counts=True)
        self._shared = {"codes/shared": float((counts[which] > 1).mean())} if len(which) else {}
        told = "vqrec: %d items have %d different codes: %.1f%% share theirs, and come in the order of their rows"
        _log.info(told, len(which), len(counts), 100 * self._shared.get("codes/shared", 0))

    def _known(self, catalog: Catalog) -> NDArray[np.bool_] | None:
        return self._readable_N

    def _key(self) -> Mapping[str, Any]:
        return {"encoder": self._made_of}

    def _begin(self, draw: Any) -> Weights:
        torch, items = self._torch, len(self._known_N)
        if self.features == "text":
            inner = 4 * self.dim
            sizes = {"w0": (self._inputs.shape[1], inner), "w1": (inner, self.dim)}
            weights = {n: torch.nn.init.xavier_uniform_(torch.empty(size), generator=draw) for n, size in sizes.items()}
            return {**weights, "b0": torch.zeros(inner), "b1": torch.zeros(self.dim)}
        rows = items if self.features == "ids" else self.parts * PQ_CENTROIDS
        return {
            "table": torch.randn(rows, self.dim, generator=draw) / 10
        }  # only directions count: large ones learn late

    def _vectors(self, weights: Weights) -> Any:
        """(N, dim) unit vectors of the items."""
        torch, F = self._torch, self._torch.nn.functional
        if self.features == "ids":
            return F.normalize(weights["table"])
        inputs = torch.from_numpy(self._inputs).to(self._fits_on)
        if self.features == "text":
            return F.normalize(torch.relu(inputs @ weights["w0"] + weights["b0"]) @ weights["w1"] + weights["b1"])
        places = inputs.long() + PQ_CENTROIDS * torch.arange(self.parts, device=self._fits_on)
        return F.normalize(F.embedding_bag(places, weights["table"], mode="mean"))

    def _users(self, vectors_ND: Any, histories: Sequence[History]) -> Any:
        """(B, dim) unit vectors of users."""
        rows_BH = np.zeros((len(histories), self.last), np.int64)
        weights_BH = np.zeros(rows_BH.shape, np.float32)
        for place, history in enumerate(histories):
            recent = history[: -self.last - 1 : -1]
            rows_BH[place, : len(recent)] = recent
            weights_BH[place, : len(recent)] = self.decay ** np.arange(len(recent))
        rows, weights = self._torch.from_numpy(rows_BH), self._torch.from_numpy(weights_BH)
        read_BHD = vectors_ND[rows.to(vectors_ND.device)]
        return self._torch.nn.functional.normalize((weights.to(read_BHD)[..., None] * read_BHD).sum(1))

    def _loss(self, weights: Weights, histories: Sequence[History], progress: float, draw: Any) -> Any:
        before, following = [], []
        for rows in histories:
            places = self._torch.randint(1, max(2, len(rows)), (self.examples,), generator=draw).tolist()
            for place in places if len(rows) > 1 else ():
                before.append(rows[:place])
                following.append(rows[place])
        vectors_ND = self._vectors(weights)
        scores_EN = self._users(vectors_ND, before) @ vectors_ND.T / self.temperature
        wanted_E = self._torch.tensor(following, dtype=self._torch.long, device=self._fits_on)
        return self._torch.nn.functional.cross_entropy(scores_EN, wanted_E, reduction="sum") / max(1, len(following))

    def _kept(self, weights: Weights) -> Weights:
        # On the grid, so that scores do not depend on the batch and items with the same codes tie; see dense.vectors.
        return {"vectors": self._torch.from_numpy(on_grid(self._vectors(weights).cpu().numpy()))}

    def _forward(self, kept: Weights, histories: Sequence[History]) -> Any:
        users_QD = self._torch.from_numpy(on_grid(self._users(kept["vectors"], histories).numpy())).double()
        return users_QD @ kept["vectors"].T / self.temperature


def codes_of(vectors_ND: Floats, parts: int) -> NDArray[np.uint8]:
    """(N, parts) the codes of vectors; raises `ValueError` for more parts than a vector has numbers."""
    faiss, dim = library(), vectors_ND.shape[1]
    if parts > dim:
        raise ValueError(f"parts: vectors of {dim} numbers cannot be cut into {parts} parts; set it to {dim} or less")
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)  # sums of several threads depend on how many there are
    try:
        rotation = faiss.OPQMatrix(dim, parts, dim // parts * parts)
        quantizer = faiss.ProductQuantizer(rotation.d_out, parts, 8)
        quantizer.cp.min_points_per_centroid = 1
        rotation.pq, rotation.niter = quantizer, 10
        different, place_N = np.unique(vectors_ND, axis=0, return_inverse=True)  # equal items have equal codes
        examples = np.resize(different, (max(PQ_CENTROIDS, len(different)), dim))
        rotation.train(examples)
        quantizer.train(rotation.apply(examples))
        codes: NDArray[np.uint8] = quantizer.compute_codes(rotation.apply(different))[place_N]
        return codes
    finally:
        faiss.omp_set_num_threads(before)

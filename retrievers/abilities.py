"""What an engine understands beside words, so that a prompt offers it and nothing else.

A retriever declares it in two attributes or properties; without them it understands words alone:

    capabilities = frozenset({"boolean", "phrases"})
    syntax = {"phrases": "'words in single quotes' for a phrase"}      # only where it is not the usual one below
"""

from __future__ import annotations

from collections.abc import Mapping

from retrievers.base import Retriever

CAPABILITIES: Mapping[str, str] = {
    "boolean": "AND, OR and NOT in capital letters, with parentheses, as in (tent OR shelter) AND light NOT family",
    "phrases": 'quotation marks around words that must stand together, as in "sleeping bag"',
    "fields": "a field's name and a colon before a word that must stand in that field, as in title:tent",
    "filters": "a field's name and a range that must hold, as in price:[10 TO 50]",
}
"""Every capability, with its usual syntax in words that a policy can read: that of Lucene's query parser."""


def capabilities_of(retriever: Retriever) -> frozenset[str]:
    """The capabilities that a retriever declares; none where it declares nothing. `ValueError` for an unknown one."""
    declared = frozenset(getattr(retriever, "capabilities", ()))
    unknown = sorted(declared - CAPABILITIES.keys())
    if unknown:
        known = ", ".join(CAPABILITIES)
        raise ValueError(f"{type(retriever).__name__} declares the capability {unknown[0]!r}; there are: {known}")
    return declared


def syntax_of(retriever: Retriever) -> dict[str, str]:
    """How to write what a retriever understands: capability -> words for the policy, in the order of `CAPABILITIES`."""
    declared = capabilities_of(retriever)
    own: Mapping[str, str] = getattr(retriever, "syntax", {})
    return {name: own.get(name, usual) for name, usual in CAPABILITIES.items() if name in declared}

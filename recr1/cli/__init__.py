"""The command line, one file a command: `add(parser)` declares its arguments, `run(args)` returns the exit status.

The help imports no more than one of these files, so they import what is heavy inside of functions.
"""

from collections.abc import Mapping

GROUPS: Mapping[str, Mapping[str, str]] = {
    "prepare": {
        "ls": "List the recipes that come with recr1, or the built-in parts.",
        "cp": "Copy a recipe to start your own.",
        "check": "Report every mistake in a recipe, without loading a model.",
        "doctor": "Find faults in data, retriever, rewards and policy.",
        "headroom": "Sample the untrained policy, and say what training can gain.",
        "search": "Search the catalog of a recipe with its retriever.",
        "judgements": "Convert judgements, grade clicks, compare two judges.",
        "store": "List the indexes and embeddings on disk, and remove old ones.",
    },
    "train": {"train": "Train a policy from a recipe, or resume a run."},
    "judge": {
        "eval": "Evaluate the policy of a recipe or run on one split.",
        "compare": "Compare policies and baselines, with significance tests.",
        "cross": "Evaluate the policy of each run on the catalogs of others.",
        "report": "Write the results of runs into one HTML file, and Markdown.",
        "audit": "Look for biases: position, popularity, people, length.",
        "rescore": "Score queries of a run with another retriever or measure.",
    },
    "serve": {
        "gate": "Find out which needs a run's policy should rewrite.",
        "export": "Write a bundle of a run, or its model card, for production.",
        "rewrite": "Rewrite many queries with a bundle, into a head table.",
        "serve": "Serve the rewrites of a bundle over HTTP, always in time.",
        "handover": "Write a head table in the form of a search engine.",
        "interleave": "Say how many sessions a live test needs.",
        "watch": "Compare what rewrites find today with what they found.",
        "playground": "Compare on a page what needs and their rewrites find.",
        "serve-retriever": "Serve the index of a recipe to other processes.",
    },
}
"""Commands by what they are for, in the order of use, each with a line of help."""
COMMANDS: Mapping[str, str] = {name: text for group in GROUPS.values() for name, text in group.items()}

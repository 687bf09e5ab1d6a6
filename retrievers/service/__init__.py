"""One index for every rank and machine: `recr1 serve-retriever` and its client."""

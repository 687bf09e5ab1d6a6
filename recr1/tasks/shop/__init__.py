"""A generated shop with needs written as people write them, for the quickstart: seeded, any size, no download.

lexicon.yaml   concepts, the words and phrases for each, sentence frames
lexicon.py     reads it; dialects of invented words
language.py    how shoppers write needs, and pairs of needs and queries for a warm start: knows no catalog
catalog.py     a shop with its own wording, and how well an item meets wishes
task.py        the task: needs of disjoint splits with qrels
"""

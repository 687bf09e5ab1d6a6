"""A generated shop with needs written as people write them, for the quickstart: seeded, any size, no download.

lexicon.yaml   concepts, the words and phrases for each, sentence frames
lexicon.py     reads it
dialects.py    words that nobody else uses
language.py    how shoppers write: knows no catalog
pairs.py       what a warm start learns: language, and no shop
catalog.py     a shop in its own wording, and how well an item meets wishes
task.py        the task: needs of disjoint splits with qrels
"""

"""Tasks about people: what they took before, and what they take, rate or say next.

source.py      what a source of behaviour has: a catalog, pasts by split, ratings, reviews
people.py      a source: a generated set of people with planted tastes
reader.py      a source: files of interactions
sequential.py  the tasks sequential and pick_one: what a user takes next
answered.py    what tasks share whose needs are answered in text
rating.py      the task rating: how many stars
reviews.py     the tasks explain_text and review_title
augment.py     the task augment: a better text of an item
"""

BUILTIN = {
    "interactions": "recr1.tasks.behaviour.reader:Interactions",
    "people": "recr1.tasks.behaviour.people:People",
}
"""Sources of behaviour by the name that a recipe uses."""

"""Tasks: what shoppers need, the catalog that has it and the answer key."""

from recr1.tasks.base import SPLITS, Task

BUILTIN = {
    "amazon_c4": "recr1.tasks.published.amazon_c4:AmazonC4Task",
    "amazon_reviews": "recr1.tasks.published.amazon_reviews:AmazonReviewsTask",
    "augment": "recr1.tasks.behaviour.augment:AugmentTask",
    "esci": "recr1.tasks.published.esci:EsciTask",
    "explain_text": "recr1.tasks.behaviour.reviews:ExplainTextTask",
    "files": "recr1.tasks.files:FilesTask",
    "hnm": "recr1.tasks.published.hnm:HnmTask",
    "ir": "recr1.tasks.published.ir:IrTask",
    "mixed": "recr1.tasks.mixed:MixedTask",
    "pick_one": "recr1.tasks.behaviour.sequential:PickOneTask",
    "rating": "recr1.tasks.behaviour.rating:RatingTask",
    "reranking": "recr1.tasks.reranking:RerankingTask",
    "review_title": "recr1.tasks.behaviour.reviews:ReviewTitleTask",
    "sequential": "recr1.tasks.behaviour.sequential:SequentialTask",
    "shop": "recr1.tasks.shop.task:ShopTask",
    "toy": "recr1.tasks.toy:ToyTask",
    "trec_products": "recr1.tasks.published.trec_products:TrecProductsTask",
    "wands": "recr1.tasks.published.wands:WandsTask",
}
"""Tasks by the name that a recipe uses; the classes are imported when they are asked for."""

__all__ = ["BUILTIN", "SPLITS", "Task"]

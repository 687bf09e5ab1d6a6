"""A generated shop with needs written as people write them, for the quickstart: seeded, any size, no download."""

from recr1.tasks.shop.task import ShopTask

__all__ = ["ShopTask"]

"""Rewrites handed over to search engines, each in its own form, and what that form is worth."""

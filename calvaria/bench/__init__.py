"""Engines side by side: how long they take and what memory they need, on the same sites with the same weights."""

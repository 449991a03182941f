"""The process ``switch``: masks, unmasks and receipts."""

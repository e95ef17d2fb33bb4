"""Frozen networks whose features a game compares samples by."""

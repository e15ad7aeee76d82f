"""Synthetic blur from sharp videos and photos, and sets of it on disk."""

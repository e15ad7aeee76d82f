"""Blur made from sharp photos, and datasets of pairs."""

"""Datasets that training reads: pairs, crops, synthetic pairs and triplets."""

"""Sharper photos, blur-aware losses for deblurring networks, and scores that hold."""

"""Losses for deblurring: between pixels, and between features that know blur."""

from tfmlc.losses.adapter import Adapter
from tfmlc.losses.baselines import BASELINES, BaselineLoss
from tfmlc.losses.feature_matching import FeatureMatchingLoss
from tfmlc.losses.objectives import hinet_objective, mprnet_objective
from tfmlc.losses.pixel import charbonnier, edge, psnr_loss

__all__ = [
    "BASELINES",
    "Adapter",
    "BaselineLoss",
    "FeatureMatchingLoss",
    "charbonnier",
    "edge",
    "hinet_objective",
    "mprnet_objective",
    "psnr_loss",
]

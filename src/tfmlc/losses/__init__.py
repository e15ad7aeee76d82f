"""Losses for training deblurring networks: on pixels, and on features that respond to blur."""

from tfmlc.losses.adapter import Adapter, MadeFor
from tfmlc.losses.baselines import BASELINES, BaselineLoss
from tfmlc.losses.feature_matching import FeatureMatchingLoss
from tfmlc.losses.objectives import hinet_objective, mprnet_objective
from tfmlc.losses.pixel import charbonnier, edge, psnr_loss
from tfmlc.losses.triplet import ranking_loss, triplet_loss

__all__ = [
    "BASELINES",
    "Adapter",
    "BaselineLoss",
    "FeatureMatchingLoss",
    "MadeFor",
    "charbonnier",
    "edge",
    "hinet_objective",
    "mprnet_objective",
    "psnr_loss",
    "ranking_loss",
    "triplet_loss",
]

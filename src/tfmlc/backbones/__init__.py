"""Backbones: frozen, pretrained networks whose features the losses compare."""

from tfmlc.backbones.backbone import Backbone, Block
from tfmlc.backbones.catalog import BACKBONES, RANDOM, build_backbone

__all__ = ["BACKBONES", "RANDOM", "Backbone", "Block", "build_backbone"]

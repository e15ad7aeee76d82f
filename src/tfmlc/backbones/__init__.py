"""Frozen image towers whose features losses compare."""

from tfmlc.backbones.backbone import Backbone, Block
from tfmlc.backbones.catalog import BACKBONES, build_backbone

__all__ = ["BACKBONES", "Backbone", "Block", "build_backbone"]

"""ToyPEDES: rendered people with captions, in the layout of CUHK-PEDES, for a first run and for measuring methods."""

from __future__ import annotations

from tbps.data.toypedes.attributes import Person
from tbps.data.toypedes.camera import Camera
from tbps.data.toypedes.dataset import SplitCounts, ToySummary, generate
from tbps.data.toypedes.ground_truth import GroundTruth, ImageTruth, ceiling, read_ground_truth, rerender
from tbps.data.toypedes.regions import Region
from tbps.data.toypedes.render import render

__all__ = [
    "Camera",
    "GroundTruth",
    "ImageTruth",
    "Person",
    "Region",
    "SplitCounts",
    "ToySummary",
    "ceiling",
    "generate",
    "read_ground_truth",
    "render",
    "rerender",
]

"""ToyPEDES: rendered people with captions, in the layout of CUHK-PEDES, for a first run and for measuring methods."""

from __future__ import annotations

from tbps.toypedes.attributes import Person
from tbps.toypedes.camera import Camera
from tbps.toypedes.dataset import generate
from tbps.toypedes.ground_truth import GroundTruth, ImageTruth, read_ground_truth, rerender
from tbps.toypedes.reader import ceiling
from tbps.toypedes.regions import Region
from tbps.toypedes.render import render
from tbps.toypedes.summary import SplitCounts, ToySummary

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

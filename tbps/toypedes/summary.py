"""What was generated, in numbers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tbps.printable_tbps import printable


@dataclass(frozen=True)
class SplitCounts:
    """The size of one split."""

    people: int
    images: int
    captions: int


@dataclass(frozen=True)
class ToySummary:
    """What `generate` wrote. `ceiling` and `chance` are R@1 in [0, 1] on the test split, text to image."""

    root: Path  # the ToyPEDES folder
    splits: dict[str, SplitCounts]  # "train", "val", "test"
    ceiling: float  # of a reader who knows every attribute of everybody
    chance: float  # of a guess among all test images

    def describe(self) -> str:
        """A few lines for a person to read."""
        lines = [f"ToyPEDES in {printable(str(self.root))}"]
        for name, split in self.splits.items():
            lines.append(f"  {name:5} {split.people:6} people {split.images:6} images {split.captions:6} captions")
        lines.append(
            f"R@1 on test: chance {self.chance:.2%}, and {self.ceiling:.1%} for a reader who knows every attribute"
            " (captions leave details out)"
        )
        return "\n".join(lines)

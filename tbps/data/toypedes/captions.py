"""Captions: which attributes of a person they mention, in which order, and which they leave out."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from tbps.data.toypedes import lexicon
from tbps.data.toypedes.attributes import NONE, Person
from tbps.data.toypedes.phrases import (
    Phrase,
    Stated,
    bag_phrase,
    hair_phrase,
    hat_phrase,
    lower_phrase,
    merge,
    shoes_phrase,
    upper_phrase,
)
from tbps.data.toypedes.random_streams import Stream, choose, stream
from tbps.data.toypedes.regions import BODY, Region, Span, unmark
from tbps.data.toypedes.sentences import Subject, following, opening

# how often a caption mentions each region that is visible
SAY = {"upper": 0.95, "lower": 0.9, "shoes": 0.65, "hair": 0.48, "hat": 0.85, "bag": 0.85, "no bag": 0.12}
SAY_GENDER = 0.9
DOING = (
    "walking down the street",
    "walking along",
    "standing still",
    "crossing the road",
    "waiting for someone",
    "strolling past",
    "moving to one side",
)
FRONT, BACK = ("facing the camera", "looking at the camera"), ("seen from behind", "walking away from the camera")


@dataclass(frozen=True)
class Caption:
    """A caption of an image.

    Attributes:
        spans: (start, end, region); text[start:end] describes that region.
        stated: attribute -> the values consistent with the words; attributes that the text does not mention are absent.
    """

    text: str
    spans: tuple[Span, ...]
    stated: Stated

    def tokens(self) -> list[str]:
        """The lower-case words, as in the `processed_tokens` of CUHK-PEDES."""
        return re.findall(r"[a-z0-9]+(?:[-'][a-z0-9]+)*", self.text.lower())


def write_caption(
    person: Person, view: str, visible: Collection[Region], *, seed: int, key: tuple[int, int, int]
) -> Caption:
    """Write a caption of `person` that mentions visible regions only.

    Args:
        view: "front" or "back".
        visible: The regions that can be seen.
        key: (person, image, caption), each >= 0. Together with `seed` it determines every choice of words.
    """
    rng = stream(seed, Stream.CAPTION, *key)
    who, stated = _subject(rng, person)
    phrases = _phrases(rng, person, view, visible)
    groups = _sentences(rng, phrases)
    parts = [opening(rng, who, groups[0], _doing(rng, view, len(phrases)))]
    parts += [following(rng, who, group) for group in groups[1:]]
    text, spans = unmark(" ".join(f"{part}." for part in parts))
    text = re.sub(r"(^|\. )([a-z])", lambda found: found[1] + found[2].upper(), text)
    return Caption(text, tuple(spans), merge([stated, *(phrase.stated for phrase in phrases)]))


def _subject(rng: np.random.Generator, person: Person) -> tuple[Subject, Stated]:
    if rng.random() > SAY_GENDER:
        noun = choose(rng, "person", "pedestrian")
        return Subject(noun, f"the {noun}", f"the {noun}'s"), {}
    noun = choose(rng, *lexicon.PEOPLE[person.gender])
    pronoun, possessive = ("he", "his") if person.gender == "man" else ("she", "her")
    return Subject(noun, pronoun, possessive), {"gender": (person.gender,)}


def _phrases(rng: np.random.Generator, person: Person, view: str, visible: Collection[Region]) -> list[Phrase]:
    """Draw a phrase for every visible region, then drop some. At least two remain if there were two."""
    drawn = []
    if Region.HEAD in visible:
        drawn += [hair_phrase(rng, person)] if person.hat == NONE or person.hair_length == "long" else []
        drawn += [hat_phrase(rng, person)] if person.hat != NONE else []
    if Region.UPPER in visible:
        drawn.append(upper_phrase(rng, person, view))
    if Region.LOWER in visible:
        drawn.append(lower_phrase(rng, person))
    if Region.SHOES in visible:
        drawn.append(shoes_phrase(rng, person))
    if Region.BAG in visible or (person.bag == NONE and len(visible) == len(BODY) - 1):
        drawn.append(bag_phrase(rng, person))
    mentioned = [phrase for phrase in drawn if rng.random() < SAY[phrase.role]]
    return mentioned if len(mentioned) > 1 else drawn


def _sentences(rng: np.random.Generator, phrases: list[Phrase]) -> list[list[Phrase]]:
    """Order the phrases and split them into one to three sentences. The first mostly describes the clothes."""
    ordered = [phrases[index] for index in rng.permutation(len(phrases))]
    if rng.random() < 0.7:  # people mostly start with the largest item
        ordered.sort(key=lambda phrase: phrase.role not in ("upper", "lower"))
    count = min(int(rng.integers(1, 4)), max(1, len(ordered) // 2))
    cuts = sorted(int(cut) for cut in rng.choice(np.arange(1, len(ordered)), count - 1, replace=False))
    return [ordered[start:end] for start, end in zip([0, *cuts], [*cuts, len(ordered)], strict=True)]


def _doing(rng: np.random.Generator, view: str, phrases: int) -> str:
    """Draw a filler that does not describe the person's appearance. Short captions have one more often."""
    if rng.random() > (0.8 if phrases < 4 else 0.4):
        return ""
    if rng.random() < 0.35:
        return choose(rng, *(FRONT if view == "front" else BACK))
    return choose(rng, *DOING)

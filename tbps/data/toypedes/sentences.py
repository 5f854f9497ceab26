"""Sentence patterns: turn phrases about regions into sentences about a person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tbps.data.toypedes.phrases import Phrase
from tbps.data.toypedes.random_streams import choose
from tbps.data.toypedes.regions import mark

WORN = ("hat", "upper", "lower", "shoes")


@dataclass(frozen=True)
class Subject:
    """The words that refer to the person."""

    noun: str  # "man"
    pronoun: str  # "he", or "the person" if the gender is left open
    possessive: str  # "his"


def enumerate_things(phrases: Sequence[Phrase]) -> str:
    """Join phrases into a list such as "a red cap, a blue shirt and black trousers", with marks."""
    marked = [mark(phrase.region, phrase.thing) for phrase in phrases]
    return marked[0] if len(marked) == 1 else f"{', '.join(marked[:-1])} and {marked[-1]}"


def opening(rng: np.random.Generator, who: Subject, phrases: Sequence[Phrase], doing: str) -> str:
    """Write the first sentence. `doing` is the person's activity ("walking down the street"), or ""."""
    worn = [phrase for phrase in phrases if phrase.role in WORN]
    hair = [phrase for phrase in phrases if phrase.role == "hair"]
    bags = [phrase for phrase in phrases if phrase.role in ("bag", "no bag")]
    person = f"a {who.noun}" + (f" with {enumerate_things(hair)}" if hair else "")
    carried = _carried(rng, bags)
    if not worn:
        return f"{person} is {doing or 'standing there'}{_link(carried)}{carried}"
    return OPENINGS[int(rng.integers(len(OPENINGS)))](rng, person, enumerate_things(worn), carried, doing)


def _carried(rng: np.random.Generator, bags: Sequence[Phrase]) -> str:
    """A participle such as "carrying a black backpack"; "" without a phrase."""
    if not bags:
        return ""
    if bags[0].role == "no bag":
        return choose(rng, "carrying nothing", "carrying no bag")
    return f"{choose(rng, 'carrying', 'with')} {enumerate_things(bags)}"


def _is_wearing(rng: np.random.Generator, person: str, worn: str, carried: str, doing: str) -> str:
    verb = choose(rng, "is wearing", "wears", "is dressed in", "has on")
    return _ending(f"{person} {verb} {worn}", carried, doing)


def _dressed(rng: np.random.Generator, person: str, worn: str, carried: str, doing: str) -> str:
    start = choose(rng, "wearing", "dressed in")
    does = doing or choose(rng, "seen here", "standing still")
    return f"{start} {worn}, {person} is {does}{_link(carried)}{carried}"


def _in(rng: np.random.Generator, person: str, worn: str, carried: str, doing: str) -> str:
    link = "wearing" if " with " in person else "in"
    does = doing or choose(rng, "in the picture", "standing there")
    return f"{person} {link} {worn} is {does}{_link(carried)}{carried}"


def _shown(rng: np.random.Generator, person: str, worn: str, carried: str, doing: str) -> str:
    start = choose(rng, "the picture shows", "the image shows", "we see", "there is")
    return _ending(f"{start} {person} wearing {worn}", carried, doing)


def _ending(clothes: str, carried: str, doing: str) -> str:
    """Append activity and bag to a list of clothes, after a comma so that the bag is not read as part of the list."""
    if doing:
        return f"{clothes}, {doing}{_link(carried)}{carried}"
    return f"{clothes}, {carried}" if carried else clothes


def _link(carried: str) -> str:
    """The separator between an activity and the bag phrase."""
    return "" if not carried else " " if carried.startswith("with ") else ", "


OPENINGS = (_is_wearing, _dressed, _in, _shown)


def following(rng: np.random.Generator, who: Subject, phrases: Sequence[Phrase]) -> str:
    """Write a later sentence: one clause per phrase, with all worn items in one clause."""
    worn = [phrase for phrase in phrases if phrase.role in WORN]
    other = [phrase for phrase in phrases if phrase.role not in WORN]
    clauses = []
    if len(worn) == 1:
        clauses.append(_single(rng, who, worn[0]))
    elif worn:
        clauses.append(f"{who.pronoun} {choose(rng, 'is wearing', 'wears', 'also has on')} {enumerate_things(worn)}")
    clauses += [_single(rng, who, phrase) for phrase in other]
    clauses = [clauses[index] for index in rng.permutation(len(clauses))]
    start = f"{who.pronoun} "
    if all(clause.startswith(start) for clause in clauses):  # name the subject once
        clauses = [clauses[0], *(clause.removeprefix(start) for clause in clauses[1:])]
    return clauses[0] if len(clauses) == 1 else f"{', '.join(clauses[:-1])} and {clauses[-1]}"


def _single(rng: np.random.Generator, who: Subject, phrase: Phrase) -> str:
    """Write a clause about one item: "his shoes are white", "she carries a red bag"."""
    if phrase.role == "no bag":
        return f"{who.pronoun} {choose(rng, 'carries nothing', 'has no bag', 'is not carrying a bag')}"
    if phrase.quality and phrase.thing.endswith(phrase.noun) and rng.random() < 0.5:
        verb = "are" if phrase.plural else "is"
        return f"{who.possessive} {mark(phrase.region, f'{phrase.noun} {verb} {phrase.quality}')}"
    verbs = {
        "hair": ("has",),
        "bag": ("carries", "is carrying", "has"),
        "shoes": ("wears", "has on", "walks in"),
    }.get(phrase.role, ("wears", "is wearing", "has on"))
    return f"{who.pronoun} {choose(rng, *verbs)} {mark(phrase.region, phrase.thing)}"

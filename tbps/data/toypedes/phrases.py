"""Noun phrases: the words about one region, and the attribute values that they state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from tbps.data.toypedes import lexicon
from tbps.data.toypedes.attributes import NONE, Person
from tbps.data.toypedes.lexicon import Noun
from tbps.data.toypedes.random_streams import choose
from tbps.data.toypedes.regions import Region

Stated = dict[str, tuple[str, ...]]

SAY_COLOUR = 0.87  # how often a phrase names the colour of its garment
SAY_PATTERN = 0.75
SAY_UNDER = 0.75  # the shirt under an open jacket


@dataclass(frozen=True)
class Phrase:
    """A phrase about one region.

    `thing` can be used alone ("a red cap", "black trousers"). `noun` and `quality`, if there is one, make a sentence
    of their own ("the cap is red").
    """

    region: Region
    role: str  # "hair", "hat", "upper", "lower", "shoes", "bag" or "no bag"
    thing: str
    noun: str
    quality: str = ""
    plural: bool = False
    stated: Stated = field(default_factory=dict)


def article(words: str) -> str:
    """Put "a" or "an" before the words."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def hair_phrase(rng: np.random.Generator, person: Person) -> Phrase:
    """A phrase such as "long black hair" or "a bald head"."""
    if person.hair_length == "bald":
        stated: Stated = {"hair_length": ("bald",)}
        thing = choose(rng, "a bald head", "a shaved head")
        return Phrase(Region.HEAD, "hair", thing, "head", thing.split()[1], stated=stated)
    stated, words = {}, []
    colour_said = rng.random() < SAY_COLOUR
    if rng.random() < 0.75 or not colour_said:
        words.append(choose(rng, *lexicon.LENGTH_WORDS[person.hair_length]))
        stated["hair_length"] = (person.hair_length,)
    if colour_said:
        colour = choose(rng, *lexicon.HAIR_WORDS[person.hair_colour])
        words.append(colour)
        stated["hair_colour"] = lexicon.HAIR_VALUES.get(colour, (person.hair_colour,))
    return Phrase(Region.HEAD, "hair", " ".join([*words, "hair"]), "hair", " and ".join(words), stated=stated)


def hat_phrase(rng: np.random.Generator, person: Person) -> Phrase:
    """A phrase such as "a red cap"."""
    return _named(rng, "hat", lexicon.HATS[person.hat], person.hat_colour, Region.HEAD)


def lower_phrase(rng: np.random.Generator, person: Person) -> Phrase:
    """A phrase such as "black trousers" or "a green skirt"."""
    return _named(rng, "lower", lexicon.LOWERS[person.lower], person.lower_colour, Region.LOWER)


def shoes_phrase(rng: np.random.Generator, person: Person) -> Phrase:
    """A phrase such as "white trainers" or "a pair of white trainers"."""
    return _named(rng, "shoes", lexicon.SHOES[person.shoes], person.shoes_colour, Region.SHOES)


def bag_phrase(rng: np.random.Generator, person: Person) -> Phrase:
    """A phrase such as "a blue backpack", or one that says there is no bag."""
    if person.bag == NONE:
        return Phrase(Region.BACKGROUND, "no bag", "nothing", "", stated={"bag": (NONE,)})
    return _named(rng, "bag", lexicon.BAGS[person.bag], person.bag_colour, Region.BAG)


def upper_phrase(rng: np.random.Generator, person: Person, view: str) -> Phrase:
    """A phrase such as "a red t-shirt with white stripes" or "a black jacket over a white shirt"."""
    base = _named(rng, "upper", lexicon.UPPERS[person.upper], person.upper_colour, Region.UPPER)
    thing, stated = base.thing, dict(base.stated)
    behind_a_bag = person.pattern == "logo" and person.bag == "backpack" and view == "back"
    if person.pattern != "plain" and not behind_a_bag and rng.random() < SAY_PATTERN:
        words, more = _pattern(rng, person)
        thing, stated = f"{thing} {words}", {**stated, **more}
    # from behind, an open jacket hides the shirt under it; the sleeves under a vest are always visible
    elif person.inner_colour != NONE and (person.upper == "vest" or view == "front") and rng.random() < SAY_UNDER:
        under = article(f"{_colour(rng, person.inner_colour)} {choose(rng, 'shirt', 'top')}")
        thing = f"{thing} over {under}"
        stated["inner_colour"] = (person.inner_colour,)
    return Phrase(Region.UPPER, "upper", thing, base.noun, base.quality, base.plural, stated)


def _pattern(rng: np.random.Generator, person: Person) -> tuple[str, Stated]:
    colour = f"{_colour(rng, person.pattern_colour)} " if rng.random() < 0.75 else ""
    words = {
        "stripes": ("with {}stripes", "with {}horizontal stripes"),
        "logo": ("with {a}logo on it", "with {a}print on it"),
        "checks": ("with {}checks", "with {a}check pattern"),
    }[person.pattern]
    form = choose(rng, *words)
    stated: Stated = {"pattern": (person.pattern,)}
    if colour:
        stated["pattern_colour"] = (person.pattern_colour,)
    singular = f"{article(colour)}" if colour else choose(rng, "a big ", "a ")
    return form.replace("{a}", singular).replace("{}", colour), stated


def _named(rng: np.random.Generator, attribute: str, nouns: tuple[Noun, ...], colour: str, region: Region) -> Phrase:
    """Name a garment or bag by one of its nouns, mostly with its colour."""
    noun = nouns[int(rng.integers(len(nouns)))]
    stated: Stated = {attribute: noun.values} if noun.values else {}
    quality = ""
    if rng.random() < SAY_COLOUR or not noun.values:
        quality = _colour(rng, colour)
        stated[f"{attribute}_colour"] = (colour,)
    words = f"{quality} {noun.word}".strip()
    if noun.plural:
        thing = f"a pair of {words}" if rng.random() < 0.2 else words
    else:
        thing = words if noun.word == "footwear" else article(words)
    return Phrase(region, attribute, thing, noun.word, quality, noun.plural, stated)


def _colour(rng: np.random.Generator, colour: str) -> str:
    return choose(rng, *lexicon.COLOUR_WORDS[colour])


def merge(statements: list[Mapping[str, tuple[str, ...]]]) -> Stated:
    """Merge the statements of several phrases; at most one of them states each attribute."""
    return {name: values for stated in statements for name, values in stated.items()}

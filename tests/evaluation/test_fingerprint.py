"""Models whose vectors differ are told apart and the difference is named; other changes are accepted."""

import base64
import copy
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny import make_config, make_tokenizer
from tokenizers import AddedToken, normalizers, pre_tokenizers, processors
from transformers import AutoModel, AutoProcessor, ByT5Tokenizer

from tbps import Gallery, TBPSImageProcessor, TBPSModel, TBPSProcessor
from tbps.evaluation.encoding import encode_texts
from tbps.evaluation.fingerprint import ModelIdentity, identify
from tbps.evaluation.probes import distance
from tbps.gallery import GalleryError
from tbps.gallery.model_identity import check_model, difference, old_fingerprint

INFINITE = torch.full((16,), torch.inf).numpy().tobytes()
Change = Callable[[TBPSModel, TBPSProcessor], Any]


def make(**fields: Any) -> tuple[TBPSModel, TBPSProcessor]:
    torch.manual_seed(0)
    processor = TBPSProcessor(TBPSImageProcessor(size={"height": 32, "width": 16}), make_tokenizer())
    return TBPSModel(make_config(**fields)).eval(), processor


@pytest.fixture(scope="module")
def known() -> ModelIdentity:
    return identify(*make())


def backend(name: str, value: Any) -> Change:
    return lambda model, processor: setattr(processor.tokenizer.backend_tokenizer, name, value)


def tokenizer(name: str, value: Any) -> Change:
    return lambda model, processor: setattr(processor.tokenizer, name, value)


def pictures(**fields: Any) -> Change:
    return lambda model, processor: [setattr(processor.image_processor, name, value) for name, value in fields.items()]


def config(name: str, value: Any) -> Change:
    return lambda model, processor: setattr(model.config, name, value)


def text_config(name: str, value: Any) -> Change:
    return lambda model, processor: setattr(model.config.text_config, name, value)


LOWER, RENAMED = normalizers.Lowercase(), normalizers.Replace("coat", "bag")
OTHERS: dict[str, tuple[Change, str]] = {
    "capitals": (backend("normalizer", normalizers.NFC()), "normalizer of the tokenizer"),
    "one word": (backend("normalizer", normalizers.Sequence([RENAMED, LOWER])), "normalizer of the tokenizer"),
    "split": (backend("pre_tokenizer", pre_tokenizers.WhitespaceSplit()), "pre_tokenizer of the tokenizer"),
    "no begin": (
        backend("post_processor", processors.TemplateProcessing(single="$A <e>", special_tokens=[("<e>", 1)])),
        "post_processor of the tokenizer",
    ),
    "a new word": (lambda model, processor: processor.tokenizer.add_tokens(["cloak"]), "added_tokens of the tokenizer"),
    "a word with its blanks": (
        lambda model, processor: processor.tokenizer.add_tokens([AddedToken("bag", lstrip=True, normalized=False)]),
        "added_tokens of the tokenizer",
    ),
    "padding": (tokenizer("padding_side", "left"), "padding_side of the tokenizer is right there and left here"),
    "cut in front": (tokenizer("truncation_side", "left"), "truncation_side of the tokenizer is right there and left"),
    "shorter": (tokenizer("model_max_length", 12), "model_max_length of the tokenizer is 24 there and 12 here"),
    "mean": (pictures(image_mean=(0.5, 0.5, 0.5)), "image_mean of the image processor is .0.48.* there and .0.5"),
    "deviation": (pictures(image_std=(0.268, 0.261, 0.276)), "image_std of the image processor"),
    "resampling": (pictures(resample=3), "resample of the image processor is 2 there and 3 here"),
    "factor": (pictures(rescale_factor=1 / 256), "rescale_factor of the image processor"),
    "no mean": (pictures(do_normalize=False), "do_normalize of the image processor is True there and False here"),
    "crop": (
        pictures(do_center_crop=True, crop_size={"height": 32, "width": 16}, size={"height": 40, "width": 20}),
        "crop_size of the image processor",
    ),
    "pooling": (config("pooling", "mean"), "pooling of the model is tower there and mean here"),
    "part_weight": (config("part_weight", 0.7), "part_weight of the model is 0.75 there and 0.7 here"),
    "attention": (config("part_attention", "both"), "part_attention of the model is tokens there and both here"),
    "what is no word": (config("special_token_ids", [0, 1, 2, 7]), r"no words of .* is \[0, 1\] there and \[0, 1, 2"),
    "activation": (text_config("hidden_act", "gelu"), "hidden_act of the model is quick_gelu there and gelu here"),
    "end of a sentence": (text_config("eos_token_id", 5), r"no words of .* is \[0, 1\] there and \[0, 1, 5\] here"),
}  # fmt: skip


@pytest.mark.parametrize("case", OTHERS)
def test_what_decides_vectors_is_refused_by_name(known: ModelIdentity, case: str) -> None:
    change, message = OTHERS[case]
    model, processor = make()
    change(model, processor)
    found = identify(model, processor)
    assert found.fingerprint != known.fingerprint
    for made_by, opened_with in ((known, found), (found, known)):
        with pytest.raises(GalleryError, match="the scores would mean nothing"):
            check_model("a gallery", made_by, opened_with)
    with pytest.raises(GalleryError, match=message):
        check_model("a gallery", known, found)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_weight_may_differ(known: ModelIdentity, data: st.DataObject) -> None:
    model, processor = make()
    weights = {name: weight for name, weight in model.named_parameters() if name != "logit_scale"}  # of no vector
    name = data.draw(st.sampled_from(sorted(weights)))
    weight = weights[name]
    with torch.no_grad():
        weight.view(-1)[data.draw(st.integers(0, weight.numel() - 1))] += 1e-3
    assert difference(known, identify(model, processor)) == "their weights differ"


def compiled(model: TBPSModel) -> None:
    model.vision_model = torch.compile(model.vision_model, backend="eager")
    model.compile(backend="eager")


SAME: dict[str, Change] = {
    "hidden states": config("output_hidden_states", True),
    "attentions": lambda model, processor: setattr(model.config.text_config, "_attn_implementation", "eager"),
    "tuples": config("return_dict", False),
    "eager": lambda model, processor: model.set_attn_implementation("eager"),
    "compiled": lambda model, processor: compiled(model),
    "training": lambda model, processor: model.train().gradient_checkpointing_enable(),
    "instance head": lambda model, processor: setattr(model, "id_head", torch.nn.Linear(24, 5)),
    "losses": config("cmr_margin", 0.9),
    "scale": lambda model, processor: model.logit_scale.data.fill_(1.0),
    "padded before": lambda model, processor: encode_texts(model, processor, ["a bag"], progress=False),
    "the default, in words": config("part_stripes", 3),
    "a setting of a later Transformers": text_config("attention_is_fast", True),
    "a crop that is not active": pictures(do_center_crop=False, crop_size={"height": 3, "width": 3}),
    "no mask, which a tower that looks back only does without": tokenizer("model_input_names", ["input_ids"]),
    "threads": lambda model, processor: torch.set_num_threads(2),
}  # fmt: skip


@pytest.mark.parametrize("case", SAME)
def test_what_changes_no_vector_is_let_in(known: ModelIdentity, case: str) -> None:
    model, processor = make()
    training = model.training
    SAME[case](model, processor)
    try:
        found = identify(model, processor)
    finally:
        torch.set_num_threads(1)
    check_model("a gallery", known, found)
    check_model("a gallery", found, known)
    assert distance(known.traits["probes"], found.traits["probes"]) < 1e-5
    assert model.training == (case == "training" or training)


def test_a_compiled_model_is_the_model_and_opens_its_gallery(tmp_path: Path, pictures: list) -> None:
    model, processor = make()
    Gallery.open(tmp_path, model, processor).add(pictures, progress=False)
    again = Gallery.open(tmp_path, torch.compile(model, backend="eager"), processor)
    assert again.search("a red bag", k=1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_model_in_half_precision_is_the_same_and_another_in_it_is_not(known: ModelIdentity, dtype: Any) -> None:
    half, processor = make()
    rounded = identify(half.to(dtype), processor)
    assert difference(known, rounded) is None
    assert difference(rounded, known) is None
    loaded = identify(half.float(), processor)  # the values are those that were stored
    assert loaded.fingerprint == rounded.fingerprint
    assert difference(known, loaded) is None
    assert difference(loaded, rounded) is None
    with torch.no_grad():
        half.part_decoder.queries[0, 0] += 0.01
    assert difference(known, identify(half.to(dtype), processor)) == "their weights differ"


def test_a_checkpoint_is_the_model_that_was_saved(tmp_path: Path, known: ModelIdentity) -> None:
    model, processor = make()
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    loaded = identify(AutoModel.from_pretrained(tmp_path), AutoProcessor.from_pretrained(tmp_path))
    assert loaded.fingerprint == known.fingerprint
    assert difference(known, loaded) is None


def test_code_that_does_something_else_is_noticed_though_all_settings_are_equal(known: ModelIdentity) -> None:
    model, processor = make()

    class Mirroring(TBPSImageProcessor):
        def resize(self, image: Any, *rest: Any, **more: Any) -> Any:
            return super().resize(image[..., ::-1], *rest, **more)

    processor.image_processor = Mirroring(size={"height": 32, "width": 16})
    other = identify(model, processor)
    assert other.fingerprint == known.fingerprint
    with pytest.raises(GalleryError, match=r"get vectors that are .* apart \(no setting that is known here differs"):
        check_model("a gallery", known, other)


def test_a_tokenizer_that_refuses_unknown_words_is_compared_by_its_settings(known: ModelIdentity) -> None:
    def strict() -> tuple[TBPSModel, TBPSProcessor]:
        model, processor = make()
        processor.tokenizer.backend_tokenizer.model.unk_token = "<none>"
        return model, processor

    first, again = identify(*strict()), strict()
    assert first.traits["probes"] == ""
    assert difference(first, identify(*again)) is None
    again[1].tokenizer.padding_side = "left"
    assert "padding_side" in str(difference(first, identify(*again)))


def test_a_tokenizer_without_a_description_is_told_by_what_it_does(tmp_path: Path) -> None:
    class Shouting(ByT5Tokenizer):
        def _tokenize(self, text: str) -> list[str]:
            return super()._tokenize(text.upper())

    def identified(tokenizer: Any) -> ModelIdentity:
        model, processor = make(text_config={**make_config().text_config.to_dict(), "vocab_size": len(tokenizer)})
        tokenizer.model_max_length = 24
        return identify(model, TBPSProcessor(processor.image_processor, tokenizer))

    plain = identified(ByT5Tokenizer())
    ByT5Tokenizer().save_pretrained(tmp_path)
    assert difference(plain, identified(ByT5Tokenizer.from_pretrained(tmp_path))) is None
    Shouting.__name__ = "ByT5Tokenizer"
    assert "ids of the tokenizer differs" in str(difference(plain, identified(Shouting())))


def test_an_identity_is_plain_and_small(known: ModelIdentity) -> None:
    text = json.dumps(asdict(known))
    assert ModelIdentity(**json.loads(text)) == known
    assert len(text) < 8000
    assert all(isinstance(value, str) for value in known.traits.values())


@given(data=st.data())
def test_a_hostile_identity_is_refused_or_compared(known: ModelIdentity, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from([*known.traits, "another"]))
    text = known.traits.get(name, "")
    texts = ["[]", "{}", "[" * 100_000, "NaN", '{"a": 1e999}', "AAAA", "8J+Y", base64.b64encode(INFINITE).decode()]
    hostile = st.text(max_size=20) | st.sampled_from(texts)
    changed = data.draw(hostile | st.integers(0, len(text)).map(lambda at: text[:at] + "A" + text[at + 1 :]))
    traits = {**known.traits, name: changed}
    if data.draw(st.booleans()):
        del traits[name]
    try:
        other = ModelIdentity("m", known.fingerprint, known.embedding_dim, None, traits)
    except ValueError as error:
        said = str(error)
    else:
        said = f"traits of a model: {difference(other, known)} {difference(known, other)}"
    assert "traits of a model" in said
    assert len(said) < 1000


def test_a_gallery_of_the_earlier_rule_is_opened_by_that_rule(
    tmp_path: Path, known: ModelIdentity, pictures: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, processor = make()
    before = ModelIdentity("m", old_fingerprint(model, processor), known.embedding_dim)
    monkeypatch.setattr("tbps.gallery.open_store.identify", lambda *_: before)
    Gallery.open(tmp_path, model, processor).add(pictures, progress=False)
    monkeypatch.undo()
    gallery = Gallery.open(tmp_path, model, processor)
    assert gallery.count() == 4
    assert gallery.fingerprint == known.fingerprint  # by which thresholds are calibrated now
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.part_decoder.queries[0, 0] += 1e-3
    with pytest.raises(GalleryError, match="their fingerprints differ"):
        Gallery.open(tmp_path, other, processor)

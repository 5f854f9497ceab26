"""The methods and ablations of the study, each a set of fields of `TBPSConfig` (the robust ones: and of training
arguments), never a fork of the code. One method gets true commonality from an oracle: what a right estimate is worth.
"""

from dataclasses import dataclass, field, replace
from typing import Any

from benchmarks.method.commonality import ESTIMATES
from benchmarks.method.oracle import REPLACED

TOWERS: dict[str, Any] = {
    "stem_channels": [16, 32],  # 64 x 32 pixels to a grid of 16 x 8
    "vision_config": {
        "model_type": "clip_vision_model",
        "image_size": [16, 8],
        "patch_size": 1,
        "num_channels": 32,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    },
    "projection_dim": 64,
    "num_parts": 8,
    "part_dim": 64,
    "decoder_layers": 1,
    "decoder_attention_heads": 1,
    "pooling": "max",
    "logit_scale_init_value": 3.0,
}
TEXT: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 80,
}
NO_PARTS: dict[str, Any] = {
    "part_weight": 0.0,
    "cmr_loss_weight": 0.0,
    "part_matching_loss_weight": 0.0,
    "part_independence_loss_weight": 0.0,
}
SDM_ID: dict[str, Any] = {"global_loss": "sdm", "id_loss_weight": 0.3}
DECODER: dict[str, Any] = {  # shared by all methods with parts
    "part_weight": 0.5,
    "part_attention": "both",
    "part_image_layer": 0,  # values know only their own place, keys know their surroundings
    "part_image_key_layer": 1,
    "part_text_key_layer": 1,
    "part_stripes": 8,  # one per part
    "text_part_weights": True,
    "part_independence_loss_weight": 5.0,
    "part_compactness_loss_weight": 8.0,
}
MATCHING: dict[str, Any] = {
    "part_matching_loss": "itc",
    "part_matching_loss_weight": 3.0,
    "part_matching_scale": 50.0,
}
PARTS: dict[str, Any] = {**SDM_ID, **DECODER, **MATCHING}
SOFTENED: dict[str, Any] = {
    "cmr_negatives": "softened",
    "cmr_loss_weight": 15.0,
}  # one hinge per anchor
DEEPER: dict[str, Any] = {"decoder_layers": 2}
LIGHT: dict[str, Any] = {"global_loss_weight": 0.1}  # SDM at 1 dominates the losses of parts
NO_MATCHING: dict[str, Any] = {"part_matching_loss_weight": 0.0}  # ranking as arXiv 2501.00318 has it


@dataclass(frozen=True)
class Method:
    """One objective.

    Args:
        settings: fields of `TBPSConfig` over those of the towers.
        tuned: fields and the values to try; val chooses on one seed, by R@1 of what the method ranks with.
        training: fields of `TBPSTrainingArguments` over those of the study.
        oracle: whether true commonality replaces the estimate (benchmarks/method/oracle.py).
    """

    settings: dict[str, Any]
    tuned: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    oracle: bool = False

    @property
    def has_parts(self) -> bool:
        """Whether the method trains parts to rank with."""
        return bool(self.settings.get("part_weight"))


def ranking(commonality: str) -> Method:
    """SDM + ID + part matching + ranking of each part with a margin by `commonality`."""
    settings = {**PARTS, "cmr_loss_weight": 3.0, "cmr_margin_floor": 0.0, "commonality": commonality}
    return Method(settings, {"cmr_margin": (0.3, 0.15)})


def changed(method: Method, fields: dict[str, Any]) -> Method:
    """The same method with other values of these fields."""
    return replace(method, settings={**method.settings, **fields})


def robust(method: Method) -> Method:
    """The same method without pairs whose loss says that caption and image do not belong together."""
    return replace(method, training={"noisy_pairs": "filter"})


def with_oracle(method: Method) -> Method:
    """The same method with true commonality."""
    return replace(method, oracle=True)


METHODS: dict[str, Method] = {
    "itc": Method({**NO_PARTS, "global_loss": "itc", "id_loss_weight": 0.0}, {"logit_scale_init_value": (3.0, 3.9)}),
    "sdm_id": Method({**NO_PARTS, **SDM_ID}, {"id_loss_weight": (0.3, 1.0, 3.0)}),
    "tal": Method({**NO_PARTS, "global_loss": "tal", "id_loss_weight": 0.0}, {"logit_scale_init_value": (3.0, 3.9)}),
    "part_matching": Method({**PARTS, "cmr_loss_weight": 0.0}, {"part_matching_loss": ("itc", "sdm")}),
    "fixed_margin": ranking("none"),
    **{f"cmr_{name}": ranking(name) for name in ESTIMATES},
    "fixed_margin_softened": changed(ranking("none"), SOFTENED),
    "cmr_all_views_softened": changed(ranking("all_views"), SOFTENED),
    "cmr_all_views_deeper": changed(ranking("all_views"), DEEPER),
    "cmr_told": with_oracle(ranking(REPLACED)),
    "fixed_margin_without_matching": changed(ranking("none"), NO_MATCHING),
    "cmr_without_matching": changed(ranking("resembling_pair"), NO_MATCHING),
}
METHODS |= {
    f"{name}_light": changed(METHODS[name], LIGHT) for name in ("part_matching", "fixed_margin", "cmr_all_views")
}
NOISE_METHODS = ("sdm_id", "sdm_id_robust", "cmr_resembling_pair", "cmr_resembling_pair_robust")  # --noise
METHODS |= {name: robust(METHODS[name.removesuffix("_robust")]) for name in NOISE_METHODS[1::2]}

OWN_KEYS: dict[str, Any] = {"part_image_key_layer": None, "part_text_key_layer": None}
ORACLE_SOURCE = "cmr_resembling_pair"  # its runs say which region each part of a method with the oracle describes
ABLATED = "cmr_all_views"  # what the ablations change one item of
ABLATIONS: dict[str, dict[str, Any]] = {
    "unchanged": {},
    "K = 4": {"num_parts": 4, "part_stripes": 4},
    "K = 16": {"num_parts": 16, "part_stripes": 16},
    "K = 12, four of them anywhere": {"num_parts": 12},
    "d = 16": {"part_dim": 16},
    "d = 32": {"part_dim": 32},
    "no stripes": {"part_stripes": 0},
    "7 stripes, one part anywhere": {"part_stripes": 7},
    "2 decoder layers": DEEPER,
    "attention over tokens": {"part_attention": "tokens"},
    "attention over parts (slots)": {"part_attention": "parts"},
    "parts read the first layer, by itself": {**OWN_KEYS, "part_image_layer": 1},
    "parts read the tower's output, by itself": {**OWN_KEYS, "part_image_layer": None},
    "global embedding by ITC": {"global_loss": "itc"},
    "global embedding by TAL": {"global_loss": "tal"},
    "SDM at a tenth": LIGHT,
    "no ID": {"id_loss_weight": 0.0},
    "no matching": NO_MATCHING,
    "no ranking": {"cmr_loss_weight": 0.0},
    "no compactness": {"part_compactness_loss_weight": 0.0},
    "compactness 24": {"part_compactness_loss_weight": 24.0},
    "no independence": {"part_independence_loss_weight": 0.0},
    "independence 15": {"part_independence_loss_weight": 15.0},
    "no text-dependent weights": {"text_part_weights": False},
    "ranking weight 1": {"cmr_loss_weight": 1.0},
    "ranking weight 9": {"cmr_loss_weight": 9.0},
    "margin 0.1": {"cmr_margin": 0.1},
    "margin 0.8": {"cmr_margin": 0.8},
    "floor 0.05": {"cmr_margin_floor": 0.05},
    "floor -0.1": {"cmr_margin_floor": -0.1},
    "semi-hard negatives": {"cmr_negatives": "semi_hard"},
    "hardest negatives": {"cmr_negatives": "hardest"},
    "softened negatives": SOFTENED,
    "hardest positives": {"cmr_positives": "hardest"},
    **{f"commonality {name}": {"commonality": name} for name in ("none", *ESTIMATES) if f"cmr_{name}" != ABLATED},
}

"""Reasons for which a common test may be skipped. A reason that is not listed here fails the run."""

import re

EXPLANATIONS = {
    "hardware or library that is not here": r"test requires|requires (the )?(kernels|deepspeed)",
    "generates no text, has no language modeling head": r"language modeling head",
    "has no experts, no sliding window, no rotary embedding": (
        r"sparse experts|output_router_logits|grouped_mm|sliding window|`base_model_class` defined"
    ),
    "declares no tensor-parallel plan": r"TP plan",
    "keeps no module in float32 of its own": r"_keep_in_fp32_modules",
    "takes token ids, not embeddings of tokens": r"doesn't use `inputs_embeds`",
    "renames no weights when loading": r"Only PrefixChange conversions found|conversions? found",
    "the test is for models that are not composed of two towers": (
        r"Model does not have position embeddings|does not support SDPA"
    ),
    "reads images and sentences: no chat template, video, audio or image tokens in the text": (
        r"chat template|video_processor|feature_extractor|audio|_get_num_multimodal_tokens|video"
    ),
    "one image processor, on Pillow": (
        r"less than 2 backends|torchvision backend|Pillow's|No validation found|dict size"
    ),
    "slow tests: compilation on an accelerator, torchvision; RUN_SLOW=1 runs them": r"test is slow",
}


def explanation(reason: str) -> str | None:
    """Return the first entry that explains a reason, or None."""
    return next((why for why, pattern in EXPLANATIONS.items() if re.search(pattern, reason)), None)

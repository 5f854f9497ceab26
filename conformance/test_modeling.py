"""The common model tests of Transformers, on tbps."""

import unittest
from typing import Any

import torch
from transformers_tests.test_configuration_common import ConfigTester
from transformers_tests.test_modeling_common import ModelTesterMixin

from conformance.tester import BATCH, CLIP, HEADS, LAYERS, SIGLIP, VIT_BERT, WIDTH, TBPSModelTester
from tbps import TBPSConfig, TBPSModel


class TBPSModelTest(ModelTesterMixin, unittest.TestCase):
    all_model_classes = (TBPSModel,)
    additional_model_inputs = ("pixel_values",)
    test_can_init_all_missing_weights_before_2023 = True  # else that test skips itself
    _is_composite = True

    def setUp(self) -> None:
        self.model_tester = TBPSModelTester(CLIP)
        self.config_tester = ConfigTester(
            self, config_class=TBPSConfig, has_text_modality=False, common_properties=["projection_dim", "num_parts"]
        )

    def _prepare_for_class(self, inputs: Any, model_class: type, return_labels: bool = False) -> dict[str, Any]:
        """Pass person ids as labels."""
        prepared = super()._prepare_for_class(inputs, model_class)
        return {**prepared, "person_ids": torch.arange(BATCH)} if return_labels else prepared

    def test_config(self) -> None:
        self.config_tester.run_common_tests()

    def test_hidden_states_output(self) -> None:
        """Check hidden states per tower; the common test reads them from the output itself."""
        for how in ("argument", "configuration"):
            for side, length in self.sides(self.tower_outputs(how)):
                assert [tuple(x.shape) for x in side.hidden_states] == [(BATCH, length, WIDTH)] * (LAYERS + 1)

    def test_attention_outputs(self) -> None:
        """Check attentions per tower, for the same reason."""
        for how in ("argument", "configuration"):
            for side, length in self.sides(self.tower_outputs(how)):
                assert [tuple(x.shape) for x in side.attentions] == [(BATCH, HEADS, length, length)] * LAYERS

    def test_retain_grad_hidden_states_attentions(self) -> None:
        """Check that the gradient of a score reaches the hidden states and attentions of each tower."""
        out = self.tower_outputs("argument")
        kept = [side[name][0] for side, _ in self.sides(out) for name in ("hidden_states", "attentions")]
        for tensor in kept:
            tensor.retain_grad()
        out.logits_per_text[0, 0].backward()
        for tensor in kept:
            assert tensor.grad is not None

    def tower_outputs(self, how: str) -> Any:
        """Return outputs with hidden states and attentions of the towers, requested by argument or by configuration."""
        config, inputs = self.model_tester.prepare_config_and_inputs_for_common()
        asked = {"output_hidden_states": True, "output_attentions": True}
        if how == "configuration":
            for part in (config, config.vision_config, config.text_config):
                for name, value in asked.items():
                    setattr(part, name, value)
        model = TBPSModel._from_config(config, attn_implementation="eager").eval()
        return model(**inputs, **(asked if how == "argument" else {}))

    def sides(self, out: Any) -> list[tuple[Any, int]]:
        """Return the output and the number of tokens of each tower."""
        tester = self.model_tester
        return [(out.text_model_output, tester.seq_length), (out.vision_model_output, tester.num_image_tokens)]


class SiglipTowersTest(TBPSModelTest):
    def setUp(self) -> None:
        super().setUp()
        self.model_tester = TBPSModelTester(SIGLIP, prefix=0)


class ViTAndBertTowersTest(TBPSModelTest):
    def setUp(self) -> None:
        super().setUp()
        self.model_tester = TBPSModelTester(VIT_BERT)

"""The tests that Transformers runs on every model, on ours."""

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
        """Person ids are what our loss has for labels."""
        prepared = super()._prepare_for_class(inputs, model_class)
        return {**prepared, "person_ids": torch.arange(BATCH)} if return_labels else prepared

    def test_config(self) -> None:
        self.config_tester.run_common_tests()

    def test_hidden_states_output(self) -> None:
        """The common test reads hidden states off the output itself; ours are those of each tower."""
        for how in ("argument", "configuration"):
            for side, length in self.sides(self.tower_outputs(how)):
                assert [tuple(x.shape) for x in side.hidden_states] == [(BATCH, length, WIDTH)] * (LAYERS + 1)

    def test_attention_outputs(self) -> None:
        """As above, for attentions."""
        for how in ("argument", "configuration"):
            for side, length in self.sides(self.tower_outputs(how)):
                assert [tuple(x.shape) for x in side.attentions] == [(BATCH, HEADS, length, length)] * LAYERS

    def test_retain_grad_hidden_states_attentions(self) -> None:
        """As above: a score's gradient reaches what each tower shows of itself."""
        out = self.tower_outputs("argument")
        kept = [side[name][0] for side, _ in self.sides(out) for name in ("hidden_states", "attentions")]
        for tensor in kept:
            tensor.retain_grad()
        out.logits_per_text[0, 0].backward()
        for tensor in kept:
            assert tensor.grad is not None

    def tower_outputs(self, how: str) -> Any:
        """The output with hidden states and attentions of the towers, asked for by an argument or a configuration."""
        config, inputs = self.model_tester.prepare_config_and_inputs_for_common()
        asked = {"output_hidden_states": True, "output_attentions": True}
        if how == "configuration":
            for part in (config, config.vision_config, config.text_config):
                for name, value in asked.items():
                    setattr(part, name, value)
        model = TBPSModel._from_config(config, attn_implementation="eager").eval()
        return model(**inputs, **(asked if how == "argument" else {}))

    def sides(self, out: Any) -> list[tuple[Any, int]]:
        """Each tower's output and its number of tokens."""
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

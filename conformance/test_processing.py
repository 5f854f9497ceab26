"""The common processor and image processor tests of Transformers, on tbps."""

import unittest
from typing import Any
from unittest.mock import patch

from transformers import PreTrainedTokenizerFast
from transformers_tests.test_image_processing_common import ImageProcessingTester, ImageProcessingTestMixin
from transformers_tests.test_processing_common import ProcessorTesterMixin

from conformance.tester import IMAGE_SIZE
from tbps import TBPSImageProcessor, TBPSProcessor
from tbps.training.tokenizer import train_tokenizer


class TBPSProcessorTest(ProcessorTesterMixin, unittest.TestCase):
    processor_class = TBPSProcessor

    @classmethod
    def setUpClass(cls) -> None:
        # Saving a class with code for the Hub leaves `auto_map` in the processor that was saved, not in the loaded one,
        # which the tests compare. tests/model/test_checkpoints.py saves and loads with the code.
        cls.enterClassContext(patch.object(TBPSProcessor, "_auto_class", None))
        super().setUpClass()

    @classmethod
    def _setup_tokenizer(cls) -> PreTrainedTokenizerFast:
        tokenizer = train_tokenizer(["lower newer upper older longer string"], 100)
        tokenizer.model_max_length = 200  # the common tests pad to as much as 167
        return tokenizer

    @classmethod
    def _setup_image_processor(cls) -> TBPSImageProcessor:
        return TBPSImageProcessor()


class TBPSImageProcessorTester(ImageProcessingTester):
    def __init__(self, parent: Any) -> None:
        super().__init__(parent, size={"height": IMAGE_SIZE[0], "width": IMAGE_SIZE[1]})

    def _get_image_processing_classes(self) -> dict[str, type]:
        """Return the class directly; the common tester looks it up by folder among those of Transformers."""
        return {"pil": TBPSImageProcessor}


class TBPSImageProcessorTest(ImageProcessingTestMixin, unittest.TestCase):
    image_processor_tester_class = TBPSImageProcessorTester

    @unittest.skip("one code path, Pillow's, gives the same pixels where torchvision is missing")
    def test_new_models_require_torchvision_backend(self) -> None:
        pass

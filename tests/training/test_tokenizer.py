"""The tokenizer of from-scratch runs is the same in every process, keeps words, and marks the ends."""

import os
import subprocess
import sys

from tiny import SENTENCES

from tbps.training.tokenizer import train_tokenizer

CAPTIONS = [*SENTENCES, "A T-shirt, a hat and a bag.", "the zebra's bag", "one odd word", "another odd pair"]
PROGRAM = """
import sys
from tbps.training.tokenizer import train_tokenizer
print(sorted(train_tokenizer(sys.argv[1:], 100).get_vocab().items()))
"""


def test_every_process_learns_the_same_ids() -> None:
    runs = [
        subprocess.run(
            [sys.executable, "-c", PROGRAM, *CAPTIONS],
            capture_output=True, text=True, check=True, env={**os.environ, "PYTHONHASHSEED": str(seed)},
        ).stdout
        for seed in range(3)
    ]  # fmt: skip
    assert "t-shirt" in runs[0]
    assert runs[0] == runs[1] == runs[2]


def test_words_ends_and_the_unknown() -> None:
    tokenizer = train_tokenizer(CAPTIONS, 100)
    ids = tokenizer("A red T-SHIRT, xylophone!")["input_ids"]
    assert (ids[0], ids[-1]) == (tokenizer.bos_token_id, tokenizer.eos_token_id)
    assert tokenizer.convert_ids_to_tokens(ids[1:-1]) == ["a", "red", "t-shirt", tokenizer.unk_token]
    padded = tokenizer(["a", "a red bag"], padding=True)
    assert padded["attention_mask"][0] == [1, 1, 1, 0, 0]
    assert padded["input_ids"][0][2:] == [tokenizer.eos_token_id] * 3


def test_the_rarest_words_go_first() -> None:
    tokenizer = train_tokenizer(["a a a", "bag bag", "odd"], 5)
    assert set(tokenizer.get_vocab()) >= {"a", "bag"}
    assert "odd" not in tokenizer.get_vocab()

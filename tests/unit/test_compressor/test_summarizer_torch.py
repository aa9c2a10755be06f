"""A local model can summarise: lazily loaded, bounded, and never believed blindly."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from compressor.abstractive import Judge
from compressor.errors import ModelFilesMissing
from compressor.summarize import ExtractiveSummarizer
from compressor.summarizer_torch import TorchSettings, TorchSummarizer
from compressor.tokens import load_counter

TEXT = "The pump P-101 was stopped at 14:05. " * 3 + "It was restarted at 15:40 by the crew."
WORDS = sorted(set(TEXT.replace(".", " .").split()))


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A causal model of a few thousand random weights, with a tokenizer of a few words."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    import tokenizers
    import torch
    import transformers

    folder = tmp_path_factory.mktemp("model")
    vocabulary = {word: at for at, word in enumerate(["<pad>", "<eos>", "<unk>", *WORDS])}
    tokenizer: Any = tokenizers.Tokenizer(
        tokenizers.models.WordLevel(vocabulary, unk_token="<unk>")
    )
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<eos>", unk_token="<unk>"
    ).save_pretrained(folder)
    torch.manual_seed(7)
    config = transformers.LlamaConfig(
        vocab_size=len(vocabulary), hidden_size=16, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=256,
        bos_token_id=None, eos_token_id=1, pad_token_id=None,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_any_local_model_gives_bounded_faithful_text(model_folder: Path) -> None:
    """Even random weights: one text each, within the budget, saying nothing of their own."""
    counter = load_counter("o200k_base")
    extractive = ExtractiveSummarizer(None, counter)
    settings = TorchSettings(str(model_folder), device="cpu", batch_tokens=200, threads=1)
    summarizer = TorchSummarizer(settings, Judge(extractive, counter))
    texts = [TEXT, "Short one.", TEXT * 6]
    first = summarizer.summarize(texts, 24, "")
    assert len(first) == 3
    assert all(counter.count(text) <= 24 for text in first)
    assert summarizer.summarize(texts, 24, "") == first
    assert first[0] == extractive.summarize([TEXT], 24, "")[0]


@pytest.mark.slow
def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    """The error says which folder, and what would do."""
    with pytest.raises(ModelFilesMissing, match="no model can be loaded from") as caught:
        TorchSummarizer(TorchSettings(str(tmp_path))).summarize([TEXT], 24, "")
    assert str(tmp_path) in str(caught.value)
    assert "transformers chat model" in str(caught.value)


def test_nothing_heavy_is_imported_before_it_is_used() -> None:
    """Making a summariser loads neither torch nor transformers."""
    code = (
        "import sys\n"
        "from compressor.summarizer_torch import TorchSettings, TorchSummarizer\n"
        "from compressor.summarizer_openai import Endpoint, OpenAISummarizer\n"
        "made = TorchSummarizer(TorchSettings('nowhere')), OpenAISummarizer(Endpoint('u', 'm'))\n"
        "assert made[0].summarize([], 5, '') == []\n"
        "print(sorted({'torch', 'transformers', 'httpx'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"

"""A summariser that runs a causal language model on this machine, through transformers.

Works with any chat model in a local folder (or in the local model cache). The model is
loaded at the first call, on a GPU where there is one. Greedy, in batches, bounded in
tokens; nothing is ever downloaded.
"""

from __future__ import annotations

import importlib
import re
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from compressor.abstractive import Judge, prompt
from compressor.errors import ModelFilesMissing

PIECE_TOKENS = 6_000  # a longer text is summarised in pieces
REPETITION_PENALTY = 1.05
MIN_PIECE_SUMMARY = 24
_STOPPED = re.compile(r".*[.!?。！？][\"'”’)\]]*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class TorchSettings:
    """How to run a model.

    Args:
        model: a folder, or a name in the local model cache.
        device: "auto" (CUDA, then MPS, then CPU) or a torch device.
        batch_tokens: prompt tokens, padding included, of one batch; None: 32,768 on a
            GPU, 4,096 on a CPU.
        threads: CPU threads; None leaves torch's own choice.
        deadline_s: for all texts of one call, the model's loading apart; what is not
            written by then is extracted.
    """

    model: str
    device: str = "auto"
    batch_tokens: int | None = None
    threads: int | None = None
    deadline_s: float = 20.0


@dataclass(frozen=True, slots=True)
class _Loaded:
    tokenizer: Any
    model: Any
    device: str
    batch_tokens: int


class TorchSummarizer:
    """Summaries by a local model; one call at a time, others wait.

    Raises (at the first call):
        ModelFilesMissing: the folder or name cannot be loaded; says why.
    """

    def __init__(self, settings: TorchSettings, judge: Judge | None = None) -> None:
        self._settings = settings
        self._judge = judge or Judge()
        self._loaded: _Loaded | None = None
        self._lock = threading.Lock()
        self.name = f"torch:{settings.model}:{self._judge.name}"

    def summarize(self, texts: Sequence[str], max_tokens: int, question: str) -> list[str]:
        """One summary a text, in order, each of at most ``max_tokens`` tokens."""
        if not texts:
            return []
        with self._lock:
            loaded = self._loaded = self._loaded or _load(self._settings)
            pieces = [_pieces(text, loaded) for text in texts]
            share = [max(MIN_PIECE_SUMMARY, max_tokens // len(some)) for some in pieces]
            flat = [(piece, share[at]) for at, some in enumerate(pieces) for piece in some]
            end_s = time.monotonic() + self._settings.deadline_s
            made = iter(_generate_all(flat, question, loaded, end_s))
        generated = [" ".join(next(made) for _ in some) for some in pieces]
        return [
            self._judge.verdict(answer or None, text, max_tokens, question)
            for answer, text in zip(generated, texts, strict=True)
        ]


def best_device(asked: str) -> str:
    """``asked``, or for "auto" the fastest device here: cuda, mps or cpu."""
    import torch

    if asked != "auto":
        return asked
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def best_dtype(device: str) -> Any:
    """The dtype that is fast and safe on ``device``: bfloat16, float16 or float32."""
    import torch

    if device.startswith("cuda"):
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    if device.startswith("mps"):
        return torch.float16
    wide = torch.backends.cpu.get_cpu_capability().startswith(("AVX512", "AMX", "SVE"))
    return torch.bfloat16 if wide else torch.float32


def _load(settings: TorchSettings) -> _Loaded:
    """The model on its device, ready to generate."""
    try:
        torch: Any = importlib.import_module("torch")
        transformers: Any = importlib.import_module("transformers")
    except ImportError as error:
        raise ModelFilesMissing(f"a local summariser needs {error.name}: {error}") from error
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    device = best_device(settings.device)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            settings.model, local_files_only=True, padding_side="left"
        )
        model = transformers.AutoModelForCausalLM.from_pretrained(
            settings.model, local_files_only=True, dtype=best_dtype(device)
        )
    except (OSError, ValueError, KeyError, ImportError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelFilesMissing(
            f"no model can be loaded from {settings.model!r}: {reason}. Give the folder of a "
            f"transformers chat model (scripts/fetch_local_model.py makes one)"
        ) from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    default = 4_096 if device == "cpu" else 32_768
    return _Loaded(tokenizer, model.to(device).eval(), device, settings.batch_tokens or default)


def _pieces(text: str, loaded: _Loaded) -> list[str]:
    """``text``, or where it is too long for one prompt its pieces, cut at line ends."""
    limit = min(PIECE_TOKENS, getattr(loaded.model.config, "max_position_embeddings", 4096) // 2)
    size = len(loaded.tokenizer(text, add_special_tokens=False)["input_ids"])
    if size <= limit:
        return [text]
    chars = max(1, len(text) * limit // size)
    pieces: list[str] = []
    start = 0
    while start < len(text):
        end = min(len(text), start + chars)
        if end < len(text):
            at = text.rfind("\n", start + chars // 2, end)
            end = at + 1 if at >= 0 else end
        pieces.append(text[start:end])
        start = end
    return pieces


def _generate_all(
    asks: Sequence[tuple[str, int]], question: str, loaded: _Loaded, end_s: float
) -> list[str]:
    """What the model writes for each (text, max tokens), in order; "" after ``end_s``."""
    prompts = [_rendered(prompt(text, limit, question), loaded) for text, limit in asks]
    sizes = [len(loaded.tokenizer(one, add_special_tokens=False)["input_ids"]) for one in prompts]
    results = [""] * len(asks)
    for batch in _batches(sizes, loaded.batch_tokens):
        left_s = end_s - time.monotonic()
        if left_s <= 0:
            break
        limit = max(asks[at][1] for at in batch)
        written = _generate([prompts[at] for at in batch], limit, loaded, left_s)
        for at, text in zip(batch, written, strict=True):
            results[at] = text
    return results


def _rendered(messages: list[dict[str, str]], loaded: _Loaded) -> str:
    """The prompt as the model was taught to read one; plain text without a chat template."""
    if loaded.tokenizer.chat_template:
        return str(
            loaded.tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True
            )
        )
    return "\n\n".join(message["content"] for message in messages) + "\n\nCondensed:\n"


def _batches(sizes: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Numbers of prompts to run together: alike in length, bounded with their padding."""
    batch: list[int] = []
    for at in sorted(range(len(sizes)), key=lambda at: (-sizes[at], at)):
        if batch and sizes[batch[0]] * (len(batch) + 1) > batch_tokens:
            yield batch
            batch = []
        batch.append(at)
    if batch:
        yield batch


def _generate(prompts: list[str], limit: int, loaded: _Loaded, left_s: float) -> list[str]:
    """Greedy continuations of at most ``limit`` tokens; an unfinished last sentence is cut."""
    torch: Any = importlib.import_module("torch")
    transformers: Any = importlib.import_module("transformers")
    encoded = loaded.tokenizer(
        prompts, return_tensors="pt", padding=True, add_special_tokens=False
    ).to(loaded.device)
    ends = _end_ids(loaded)
    config = transformers.GenerationConfig(
        max_new_tokens=limit,
        max_time=left_s,
        do_sample=False,
        num_beams=1,
        repetition_penalty=REPETITION_PENALTY,
        eos_token_id=ends,
        pad_token_id=loaded.tokenizer.pad_token_id,
    )
    with torch.inference_mode():
        out = loaded.model.generate(**encoded, generation_config=config)
    results = []
    for row in out[:, encoded["input_ids"].shape[1] :].tolist():
        finished = any(token in ends for token in row)
        text = str(loaded.tokenizer.decode(row, skip_special_tokens=True)).strip()
        whole = None if finished else _STOPPED.match(text)
        results.append(whole.group() if whole is not None else text if finished else "")
    return results


def _end_ids(loaded: _Loaded) -> list[int]:
    """Every token that ends a reply."""
    ends = getattr(loaded.model.generation_config, "eos_token_id", None)
    listed = ends if isinstance(ends, list) else [ends]
    listed = [*listed, loaded.tokenizer.eos_token_id]
    return sorted({token for token in listed if token is not None})

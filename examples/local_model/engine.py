"""A transformers chat model that generates one reply at a time and can be stopped.

Everything blocking is here; the server around it (server.py) is asynchronous.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DTYPES = ("auto", "float32", "bfloat16", "float16")


class CannotServe(ValueError):
    """A request that this model cannot answer; ``code`` as OpenAI names it."""

    def __init__(self, message: str, code: str = "invalid_value") -> None:
        self.code = code
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Ask:
    """One checked request; ``max_tokens`` None means as many as fit."""

    messages: Sequence[dict[str, Any]]
    tools: Sequence[dict[str, Any]] = ()
    max_tokens: int | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Prompt:
    """An ``Ask`` as token ids, and how many tokens may follow."""

    ids: Any
    tokens: int
    room: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a reply ended: ``stop``, ``length`` or ``cancelled``; tokens generated."""

    finish: str
    completion_tokens: int


class Engine:
    """A loaded model. ``generate`` must not run twice at once; the server sees to it.

    Args:
        folder: a transformers model folder with a chat template.
        device: "auto", "cpu", "cuda", "mps".
        dtype: one of ``DTYPES``.
        max_new: most tokens of one reply, whatever the client asks for.
    """

    def __init__(self, folder: Path, device: str, dtype: str, max_new: int) -> None:
        import torch
        import transformers

        self._torch: Any = torch
        self._transformers: Any = transformers
        if device == "auto":
            mps = "mps" if torch.backends.mps.is_available() else "cpu"
            device = "cuda" if torch.cuda.is_available() else mps
        options: dict[str, Any] = {"local_files_only": True}
        self._tokenizer = self._transformers.AutoTokenizer.from_pretrained(str(folder), **options)
        if not self._tokenizer.chat_template:
            raise CannotServe(f"{folder} has no chat template: it is not a chat model")
        model = self._transformers.AutoModelForCausalLM.from_pretrained(
            str(folder), dtype=self._dtype(dtype, device), **options
        )
        self._model = model.to(device).eval()
        self.device = device
        self.max_new = max_new
        self.window = int(getattr(model.config, "max_position_embeddings", 4096))

    def prepare(self, ask: Ask) -> Prompt:
        """``ask`` through the model's own chat template.

        Raises:
            CannotServe: the template refuses the messages, or they do not fit.
        """
        try:
            rendered = self._tokenizer.apply_chat_template(
                list(ask.messages),
                tools=list(ask.tools) or None,
                tokenize=False,
                add_generation_prompt=True,
            )
        except Exception as error:  # templates raise whatever they like
            raise CannotServe(f"the model's chat template refused the messages: {error}") from error
        ids = self._tokenizer(rendered, return_tensors="pt", add_special_tokens=False)
        tokens = int(ids["input_ids"].shape[1])
        asked = ask.max_tokens if ask.max_tokens is not None else 1
        if tokens + asked > self.window:
            raise CannotServe(
                f"this model's context window is {self.window} tokens; the request has {tokens} "
                f"in its messages and asks for {asked} more",
                "context_length_exceeded",
            )
        wanted = ask.max_tokens if ask.max_tokens is not None else self.window - tokens
        return Prompt(ids, tokens, min(wanted, self.max_new))

    def generate(
        self, ask: Ask, prompt: Prompt, emit: Callable[[str], None], cancelled: threading.Event
    ) -> Outcome:
        """Write the reply, piece by piece, to ``emit``; stops soon after ``cancelled`` is set."""
        sieve = StopSieve(ask.stop, emit)
        streamer = self._streamer(sieve)
        halted = self._transformers.StoppingCriteriaList(
            [lambda ids, scores, **_: self._halt(ids, stop=cancelled.is_set() or sieve.found)]
        )
        if ask.seed is not None:
            self._torch.manual_seed(ask.seed)
        with self._torch.inference_mode():
            out = self._model.generate(
                **prompt.ids.to(self.device),
                generation_config=self._settings(ask, prompt),
                streamer=streamer,
                stopping_criteria=halted,
            )
        made = out[0, prompt.tokens :].tolist()
        sieve.close()
        if cancelled.is_set():
            return Outcome("cancelled", len(made))
        ended = sieve.found or (bool(made) and made[-1] in self._ends())
        return Outcome("stop" if ended else "length", len(made))

    def _halt(self, ids: Any, *, stop: bool) -> Any:
        return self._torch.full((ids.shape[0],), stop, dtype=self._torch.bool, device=ids.device)

    def _streamer(self, sieve: StopSieve) -> Any:
        base: Any = self._transformers.TextStreamer

        class Streamer(base):  # type: ignore[misc]  # transformers is untyped
            def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
                del stream_end
                sieve.feed(text)

        return Streamer(self._tokenizer, skip_prompt=True, skip_special_tokens=True)

    def _settings(self, ask: Ask, prompt: Prompt) -> Any:
        sampling: dict[str, Any] = {"do_sample": False}
        if ask.temperature > 0:
            sampling = {"do_sample": True, "temperature": ask.temperature, "top_p": ask.top_p}
            sampling["top_k"] = 0
        ends = self._ends()
        pad = self._tokenizer.pad_token_id
        return self._transformers.GenerationConfig(
            max_new_tokens=prompt.room,
            eos_token_id=ends,
            pad_token_id=pad if pad is not None else ends[0],
            **sampling,
        )

    def _ends(self) -> list[int]:
        """Every token that ends a reply."""
        ends = getattr(self._model.generation_config, "eos_token_id", None)
        listed = [*(ends if isinstance(ends, list) else [ends]), self._tokenizer.eos_token_id]
        return sorted({token for token in listed if token is not None})

    def _dtype(self, name: str, device: str) -> Any:
        if name != "auto":
            return getattr(self._torch, name)
        if device.startswith("cuda") and self._torch.cuda.is_bf16_supported():
            return self._torch.bfloat16
        if not device.startswith("cpu"):
            return self._torch.float16
        wide = self._torch.backends.cpu.get_cpu_capability().startswith(("AVX512", "AMX", "SVE"))
        return self._torch.bfloat16 if wide else self._torch.float32


class StopSieve:
    """Lets text through up to the first stop string; holds back what may begin one."""

    def __init__(self, stops: Sequence[str], emit: Callable[[str], None]) -> None:
        self._stops = [stop for stop in stops if stop]
        self._hold = max((len(stop) for stop in self._stops), default=1) - 1
        self._emit = emit
        self._held = ""
        self.found = False

    def feed(self, text: str) -> None:
        """Take the next piece of the reply."""
        if self.found:
            return
        self._held += text
        places = [at for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if places:
            self._held = self._held[: min(places)]
            self.close()
            self.found = True
        elif len(self._held) > self._hold:
            ready = len(self._held) - self._hold
            self._emit(self._held[:ready])
            self._held = self._held[ready:]

    def close(self) -> None:
        """Let go of what was held back: nothing follows."""
        if self._held:
            self._emit(self._held)
            self._held = ""

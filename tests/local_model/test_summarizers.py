"""The real model as summariser, in this process and over the wire: nothing it invents is used."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from served import ROOT, LocalModel

from compressor.abstractive import PREFIX, Judge
from compressor.compress import compress
from compressor.conversation import Conversation, Message, Part, PartKind
from compressor.faithful import unsupported
from compressor.kit import Kit, Summarizer
from compressor.measure import measure
from compressor.media import media_rule
from compressor.memory import MemoryStore
from compressor.recipe import Recipe, Way
from compressor.summarize import ExtractiveSummarizer
from compressor.summarizer_openai import Endpoint, OpenAISummarizer
from compressor.summarizer_torch import TorchSettings, TorchSummarizer
from compressor.tokens import load_counter

pytestmark = [pytest.mark.local_model, pytest.mark.timeout(600)]

DOCUMENT = (ROOT / "docs" / "decisions" / "0001-the-house.md").read_text(encoding="utf-8")
REPORT = (
    "Ms Okafor reported that the pump P-101 was stopped on 3 May 2024 at 14:05, because its "
    "bearing had reached 96 degrees. The crew replaced the seal S-7 and restarted the pump at "
    "15:40. The repair cost 1,250 EUR. Nobody was hurt. The next inspection is on 17 June 2024."
)
COUNTER = load_counter("o200k_base")


def judge() -> Judge:
    return Judge(ExtractiveSummarizer(None, COUNTER), COUNTER)


@pytest.fixture(params=["torch", "openai"])
def summarizer(request: pytest.FixtureRequest, local_model: LocalModel) -> Iterator[Summarizer]:
    if request.param == "torch":
        settings = TorchSettings(str(local_model.folder), threads=1, deadline_s=300)
        yield TorchSummarizer(settings, judge())
        return
    endpoint = Endpoint(
        local_model.url + "/v1", "local-qwen", timeout_s=150, deadline_s=300, parallel=1
    )
    made = OpenAISummarizer(endpoint, judge())
    yield made
    made.close()


def test_a_summary_is_faithful_or_an_extract(summarizer: Summarizer) -> None:
    """Each text's memory fits its budget and holds no fact that the text lacks."""
    texts = [DOCUMENT[:1_800], REPORT]
    memories = summarizer.summarize(texts, 90, "")
    for text, memory in zip(texts, memories, strict=True):
        assert COUNTER.count(memory) <= 90
        assert len(memory) > 20
        own = memory.removeprefix(PREFIX)
        assert unsupported(own, text) == []
        is_extract = memory == ExtractiveSummarizer(None, COUNTER).summarize([text], 90, "")[0]
        assert memory.startswith(PREFIX) or is_extract


def test_old_turns_become_memories_of_the_model(local_model: LocalModel) -> None:
    """A conversation is fitted with the model's memories, and the second turn asks no more."""
    settings = TorchSettings(str(local_model.folder), threads=1, deadline_s=300)
    store = MemoryStore(time.monotonic).for_team("team")
    kit = Kit(COUNTER, summarizer=TorchSummarizer(settings, judge()), memory=store)
    texts = [REPORT, DOCUMENT[:1_500], REPORT.replace("P-101", "P-102"), "Thanks. " * 200, "And?"]
    messages = tuple(
        Message("user" if at % 2 == 0 else "assistant", (Part(PartKind.TEXT, text, ("m", at)),))
        for at, text in enumerate(texts)
    )
    conversation = Conversation(messages)
    measurement = measure(conversation, COUNTER, media_rule("openai_patches"))
    recipe = Recipe(Way.COMPRESS, measurement.prompt_tokens - 250, keep_recent=200, ratio=4.0)
    fitted = compress(conversation, measurement, recipe, kit)
    assert fitted.refused is None
    assert fitted.prompt_tokens <= recipe.target_tokens
    for edit in fitted.edits:
        original = messages[int(edit.path[1])].parts[0].text
        assert unsupported(edit.text.removeprefix(PREFIX), original) == []
    begun = time.monotonic()
    assert compress(conversation, measurement, recipe, kit) == fitted
    assert time.monotonic() - begun < 1.0

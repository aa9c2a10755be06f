"""A question reaches either wire as a plain request, and what fails is said."""

from __future__ import annotations

import json

import httpx
import pytest

from gateway.probe_ask import Asker, ProbeFailed, Target

CHAT = {"choices": [{"message": {"content": "Here."}}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}}  # fmt: skip
MESSAGES = {"content": [{"type": "thinking"}, {"type": "text", "text": "Here."}],
            "usage": {"input_tokens": 7, "output_tokens": 2}}  # fmt: skip


def asker(target: Target, *replies: httpx.Response) -> tuple[Asker, list[httpx.Request]]:
    left, seen = list(replies), []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return left.pop(0) if len(left) > 1 else left[0]

    return Asker(target, httpx.MockTransport(answer)), seen


@pytest.mark.parametrize(
    ("wire", "body", "path", "limit"),
    [
        ("chat", CHAT, "/v1/chat/completions", "max_completion_tokens"),
        ("messages", MESSAGES, "/v1/messages", "max_tokens"),
    ],
)
async def test_each_wire_is_asked_and_read(wire: str, body: object, path: str, limit: str) -> None:
    """Model, prompt, limit and key go out; text and metered tokens come back."""
    target = Target("http://x/v1/", "m", wire, "secret")
    one, seen = asker(target, httpx.Response(200, json=body))
    said = await one.ask("Where?", 99)
    await one.close()
    assert said.text == "Here."
    assert said.usage is not None
    assert (said.usage.prompt_tokens, said.usage.completion_tokens) == (7, 2)
    sent = json.loads(seen[0].content)
    assert (seen[0].url.path, sent["model"], sent[limit]) == (path, "m", 99)
    assert sent["messages"] == [{"role": "user", "content": "Where?"}]
    assert "secret" in str(seen[0].headers.get("authorization")) + str(
        seen[0].headers.get("x-api-key")
    )


async def test_a_busy_provider_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A 429 is waited out."""
    busy, well = httpx.Response(429), httpx.Response(200, json=CHAT)
    one, seen = asker(Target("http://x/v1", "m"), busy, well)
    assert (await one.ask("Where?", 9)).text == "Here."
    assert len(seen) == 2


async def test_a_refusal_ends_the_probe_and_says_why() -> None:
    """The provider's words are passed on, the key is not."""
    refusal = httpx.Response(400, text="context_length_exceeded")
    one, seen = asker(Target("http://x/v1", "m", api_key="secret"), refusal)
    with pytest.raises(ProbeFailed, match="context_length_exceeded") as error:
        await one.ask("Where?", 9)
    assert "secret" not in str(error.value)
    assert len(seen) == 1


async def test_an_answer_of_another_shape_is_a_failure() -> None:
    """A reply that is no chat completion counts neither as right nor as wrong."""
    one, _ = asker(Target("http://x/v1", "m"), httpx.Response(200, json={"hello": 1}))
    with pytest.raises(ProbeFailed, match="no chat answer"):
        await one.ask("Where?", 9)

"""Which wires each kind of upstream speaks, and how it is asked in the others."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.wire import cross_chat, cross_chat_back, cross_messages, cross_messages_back
from gateway.wire.cross import Crossing

_MESSAGES_AS_CHAT = Crossing(
    to="chat",
    request=cross_messages.request,
    back=cross_messages_back.back,
    stream=cross_messages_back.MessageEvents,
    error=cross_messages_back.error,
    names=cross_messages.names,
)
_CHAT_AS_MESSAGES = Crossing(
    to="messages",
    request=cross_chat.request,
    back=cross_chat_back.back,
    stream=cross_chat_back.ChatEvents,
    error=cross_chat_back.error,
    names=cross_chat.names,
)

SPOKEN: Mapping[str, frozenset[str]] = {
    "openai": frozenset({"chat", "responses", "completions", "embeddings"}),
    "anthropic": frozenset({"messages"}),
    "litellm": frozenset({"chat"}),
}
"""The wires that go byte for byte, by kind of upstream; litellm takes chat and translates."""

CROSSINGS: Mapping[str, Mapping[str, Crossing]] = {
    "openai": {"messages": _MESSAGES_AS_CHAT},
    "anthropic": {"chat": _CHAT_AS_MESSAGES},
    "litellm": {"messages": _MESSAGES_AS_CHAT},
}


def serves(kind: str, wire: str) -> bool:
    """Whether an upstream of this kind can be asked on this wire at all."""
    return wire in SPOKEN[kind] or wire in CROSSINGS[kind]

"""Build ``gateway/data/demo.jsonl.xz``: the prompts that ``weir demo`` sends.

    python scripts/build_demo_data.py --routing FOLDER --long FOLDER

Only rows whose own licence lets us pass them on are taken (the table below; NOTICE names
each source). The choice is by hash, so the same inputs give the same prompts.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import lzma
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from demo_texts import (
    RESUMED_CLOSING,
    RESUMED_TURNS,
    SESSION_CLOSING,
    SESSION_QUESTIONS,
    TICKET_SCHEMA,
    TICKETS,
    TOOL_TURNS,
)

Row = dict[str, Any]
Item = dict[str, Any]

MID, SMALL, LONG = "gpt-6.1-sol", "gpt-6-luna", "gemini-4-argon"
OWN = ("Tokenweir", "Apache-2.0")
ROUTING = {  # source -> (kind, how many, longest prompt in characters, licence of the questions)
    "llmrouter/trivia_qa": ("short", 4, 200, "Apache-2.0"),
    "llmrouter/commonsense_qa": ("short", 3, 300, "MIT"),
    "llmrouter/openbook_qa": ("short", 3, 300, "Apache-2.0"),
    "llmrouter/commongen": ("short", 2, 300, "MIT"),
    "routellm/mmlu": ("short", 2, 500, "MIT"),
    "routellm/gsm8k": ("reasoning", 4, 500, "MIT"),
    "llmrouter/math": ("reasoning", 4, 500, "MIT"),
    "mmlu_pro": ("reasoning", 4, 900, "MIT"),
    "llmrouter/mbpp": ("code", 6, 700, "CC-BY-4.0"),
}
DOCUMENTS = (  # context id, licence, which questions, model asked for
    ("json-retail-orders-dev-0", "MIT", (0, 3), MID),
    ("json-retail-orders-long-train-0", "MIT", (0, 5), MID),
    ("kv75-dev-0", "MIT", (0,), MID),
    ("kv75-train-2", "MIT", (1,), "auto"),
    ("testlog-dda038ee", "MIT", (0,), MID),
    ("testlog-df910943", "MIT", (0,), "auto"),
    ("qmsum-Product-val-1", "MIT; AMI corpus CC-BY-4.0", (2,), MID),
    ("qmsum-Product-test-7", "MIT; AMI corpus CC-BY-4.0", (1,), MID),
    ("qmsum-Product-val-17", "MIT; AMI corpus CC-BY-4.0", (0,), LONG),
    ("latent-dev-1", "CC0-1.0; stories public domain (US)", (0, 1), MID),
    ("latent-train-3", "CC0-1.0; stories public domain (US)", (0,), LONG),
    ("codefn-pallets+click", "BSD-3-Clause", (0, 7), MID),
    ("longchat-15-dev-0", "Apache-2.0", (2,), MID),
    ("tau-air-dev-0", "MIT", (0,), MID),
)
ASKS = {
    "json": "Answer from the data given.",
    "logs": "You read build logs for a platform team.",
    "dialogue": "You answer questions about meetings and conversations.",
    "needle": "You answer questions about stories.",
    "code": "You know the code base given and answer questions about it.",
    "tool_outputs": "You review the record of a support session.",
}
ORDER_TOOLS: list[Row] = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": description,
            "parameters": {
                "type": "object",
                "properties": properties,
                "required": list(properties),
                "additionalProperties": False,
            },
        },
    }
    for name, description, properties in (
        (
            "get_order_details",
            "Look up one order by its number: items, address, status, payments.",
            {"order_id": {"type": "string", "description": "Such as #W0000000."}},
        ),
        (
            "find_customer_by_email",
            "Find a customer's account by the email address on file.",
            {"email": {"type": "string", "format": "email"}},
        ),
        (
            "cancel_pending_order",
            "Cancel an order that has not shipped and refund it.",
            {
                "order_id": {"type": "string"},
                "reason": {"type": "string", "enum": ["no longer needed", "ordered by mistake"]},
            },
        ),
        (
            "return_delivered_items",
            "Start the return of delivered items.",
            {
                "order_id": {"type": "string"},
                "item_ids": {"type": "array", "items": {"type": "string"}, "minItems": 1},
                "payment_method_id": {"type": "string"},
            },
        ),
        (
            "transfer_to_human",
            "Hand the conversation to a person, with a summary.",
            {"summary": {"type": "string", "maxLength": 400}},
        ),
    )
]
AIRLINE_TOOLS: list[Row] = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": description,
            "parameters": {
                "type": "object",
                "properties": {key: {"type": "string"}},
                "required": [key],
            },
        },
    }
    for name, description, key in (
        ("get_user_details", "The profile of a customer.", "user_id"),
        ("get_reservation_details", "One reservation.", "reservation_id"),
        ("search_direct_flight", "Non-stop flights on a date.", "date"),
        ("transfer_to_human_agents", "Hand over to a person.", "summary"),
    )
]


def rows(folder: Path) -> Iterator[Row]:
    """Each row of train and dev, in order."""
    for name in ("train.jsonl", "dev.jsonl"):
        with (folder / name).open(encoding="utf-8") as lines:
            yield from map(json.loads, lines)


def chat(model: str, *turns: tuple[str, str], **more: Any) -> Row:
    """A chat-completions body of (role, text) turns."""
    messages = [{"role": role, "content": text} for role, text in turns]
    return {"model": model, "messages": messages, **more}


def item(name: str, kind: str, origin: tuple[str, str], body: Row, **more: str) -> Item:
    """One line of the file; ``origin`` is (source, licence)."""
    return {
        "id": name,
        "kind": kind,
        "source": origin[0],
        "licence": origin[1],
        **more,
        "body": body,
    }


def short_items(folder: Path) -> Iterator[Item]:
    """Questions of public benchmarks, chosen by hash."""
    pools: dict[str, list[Row]] = {}
    for row in rows(folder):
        wanted = ROUTING.get(row["source"])
        if wanted and 20 <= len(row["prompt"]) <= wanted[2]:
            pools.setdefault(row["source"], []).append(row)
    for source, (kind, count, _, licence) in ROUTING.items():
        pool = sorted(pools[source], key=lambda row: hashlib.sha256(row["id"].encode()).digest())
        for number, row in enumerate(pool[:count]):
            model = (MID, MID, "auto", SMALL)[number % 4]
            more: Row = {}
            if kind == "reasoning" and number == 0:
                more["reasoning_effort"] = "medium"
            turns = [("user", row["prompt"])]
            if kind == "code":
                turns.insert(0, ("system", "You write short, correct Python."))
            yield item(row["id"], kind, (source, licence), chat(model, *turns, **more))


def tool_items() -> Iterator[Item]:
    """Turns with tools, a tool result to talk about, structured output, an image: our own."""
    system = ("system", "You are the support agent of a web shop. Use the tools; never guess.")
    for number, text in enumerate(TOOL_TURNS):
        body = chat((MID, MID, SMALL, "auto")[number], system, ("user", text), tools=ORDER_TOOLS)
        yield item(f"tools-{number}", "tools", OWN, body, lane="tools")
    call = {"name": "get_order_details", "arguments": '{"order_id": "#W4731920"}'}
    result = {"order_id": "#W4731920", "status": "in transit", "expected": "2026-11-24"}
    body = chat(MID, system, ("user", TOOL_TURNS[0]), tools=ORDER_TOOLS)
    body["messages"] += [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "call_1", "type": "function", "function": call}],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": json.dumps(result)},
    ]
    yield item("tools-loop", "tools", OWN, body, lane="tools")
    shape = {
        "type": "json_schema",
        "json_schema": {"name": "ticket", "strict": True, "schema": TICKET_SCHEMA},
    }
    for number, text in enumerate(TICKETS):
        yield item(
            f"structured-{number}", "tools", OWN, chat(MID, ("user", text), response_format=shape)
        )


def document_items(contexts: dict[str, Row]) -> Iterator[Item]:
    """Long documents, each with a question at the end."""
    for name, licence, numbers, model in DOCUMENTS:
        row = contexts[name]
        for number in numbers:
            question = row["qas"][number]["question"]
            system = ("system", ASKS[row["kind"]])
            body = chat(model, system, ("user", f"{row['context'].strip()}\n\n{question}"))
            origin = (row["source"], licence)
            yield item(f"{name}-{number}", "document", origin, body, lane=name)
    peps = public_domain_peps(contexts["peps-256k"])
    free = ("Python PEPs", "Public domain / CC0-1.0")
    picked = [
        pep for pep in peps if "PEP: 573\n" in pep or "PEP: 489\n" in pep or "PEP: 723\n" in pep
    ]
    others = [pep for pep in peps if pep not in picked]
    library = "\n\n".join(others[:8] + picked + others[8:15])
    whole = "\n\n".join(peps)
    asks = (
        ("peps-lookup-0", library, "On what date was PEP 573 created?", MID),
        (
            "peps-lookup-1",
            library,
            "Which special comment does PEP 723 use for inline script metadata?",
            MID,
        ),
        ("peps-whole-0", whole, "On what date was PEP 489 created?", MID),
        (
            "peps-whole-1",
            whole,
            "Summarise the main themes that run through all of these proposals.",
            LONG,
        ),
    )
    for name, text, question, model in asks:
        body = chat(model, ("user", f"{text}\n\n{question}"))
        yield item(name, "document", free, body, lane=name[:-2])


def public_domain_peps(row: Row) -> list[str]:
    """The proposals whose own text says that it is in the public domain or CC0."""
    texts = [row["context"][s["start"] : s["end"]].strip() for s in row["segments"]]
    free = re.compile(r"(public\s+domain|CC0)", re.IGNORECASE)
    return [text for text in texts if free.search(text[-800:])]


def agent_item(row: Row) -> Item:
    """A recorded support session as real messages, tool calls and tool results."""
    messages: list[Row] = []
    for segment in row["segments"]:
        text = row["context"][segment["start"] : segment["end"]].strip()
        if segment["role"] == "tool":
            messages.append(
                {"role": "tool", "tool_call_id": segment["tool_call_id"], "content": text}
            )
        elif segment.get("tool_call_ids"):
            made = json.loads(text[text.index("[") :])
            calls = [
                {"id": call_id, "type": "function", "function": function}
                for call_id, function in zip(segment["tool_call_ids"], made, strict=True)
            ]
            messages.append({"role": "assistant", "content": None, "tool_calls": calls})
        else:
            messages.append(
                {"role": segment["role"], "content": text.replace("###STOP###", "").strip()}
            )
    while messages[-1]["role"] != "user":
        messages.pop()
    origin = (row["source"], "MIT")
    return item(
        "agent-0", "tools", origin, {"model": MID, "messages": messages, "tools": AIRLINE_TOOLS}
    )


def session_items(peps: list[str]) -> Iterator[Item]:
    """One conversation that grows past the recent window, a turn an item."""
    papers = [pep for pep in peps if 8_000 <= len(pep) <= 15_000][: len(SESSION_QUESTIONS)]
    messages: list[Row] = [
        {"role": "system", "content": "You are a patient reading partner for Python developers."}
    ]
    turns = [f"{ask}\n\n{paper}" for ask, paper in zip(SESSION_QUESTIONS, papers, strict=True)]
    origin = ("Python PEPs; turns by Tokenweir", "Public domain / CC0-1.0; Apache-2.0")
    for number, turn in enumerate([*turns, *SESSION_CLOSING]):
        messages = [*messages, {"role": "user", "content": turn}]
        body = {"model": MID, "messages": messages}
        yield item(f"session-{number:02}", "session", origin, body, session="reading-group")
        if number < len(papers):
            messages = [*messages, {"role": "assistant", "content": reading_note(papers[number])}]


def resumed_items(peps: list[str]) -> Iterator[Item]:
    """Long conversations taken up again after the provider's cache has gone cold."""
    papers = [pep for pep in peps if 8_000 <= len(pep) <= 15_000][len(SESSION_QUESTIONS) :]
    origin = ("Python PEPs; turns by Tokenweir", "Public domain / CC0-1.0; Apache-2.0")
    for number, ask in enumerate(RESUMED_CLOSING):
        messages: list[Row] = [
            {"role": "system", "content": "You keep the minutes of a Python reading circle."}
        ]
        mine = papers[number :: len(RESUMED_CLOSING)][:RESUMED_TURNS]
        for turn, paper in zip(SESSION_QUESTIONS, mine, strict=False):
            messages.append({"role": "user", "content": f"{turn}\n\n{paper}"})
            messages.append({"role": "assistant", "content": reading_note(paper)})
        messages.append({"role": "user", "content": ask})
        body = {"model": MID, "messages": messages}
        yield item(f"resumed-{number}", "session", origin, body, session=f"minutes-{number}")


def reading_note(paper: str) -> str:
    """What the reading partner said of one proposal: its head, in a sentence or two."""
    head = dict(re.findall(r"^([A-Z][A-Za-z-]+): (.+)$", paper[:1_500], re.MULTILINE))
    author = re.sub(r"\s*<[^>]*>", "", head.get("Author", "its authors"))
    return (
        f"This is PEP {head['PEP']}, {head['Title']}, by {author}, from {head['Created']}. "
        f"Its status is {head['Status']}. The abstract says what it is for; the rationale says "
        f"why the authors thought the present state was not enough."
    )


def finished(items: Iterable[Item]) -> list[Item]:
    """The items with every third one streamed, and every sixth asking for usage as well."""
    made = list(items)
    for number, entry in enumerate(made):
        if number % 3 == 1:
            entry["body"]["stream"] = True
        if number % 6 == 1:
            entry["body"]["stream_options"] = {"include_usage": True}
    return made


def main() -> None:
    """Write the file and print what is in it."""
    root = Path(__file__).resolve().parent.parent
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--routing", type=Path, default=root / "../shared/data/routing")
    parser.add_argument("--long", type=Path, default=root / "../shared/data/longcontext")
    parser.add_argument("--out", type=Path, default=root / "gateway/data/demo.jsonl.xz")
    options = parser.parse_args()
    contexts = {row["id"]: row for row in rows(options.long)}
    peps = public_domain_peps(contexts["peps-256k"])
    items = finished(
        [
            *short_items(options.routing),
            *tool_items(),
            agent_item(contexts["tau-air-train-2"]),
            *document_items(contexts),
            *session_items(peps),
            *resumed_items(peps),
        ]
    )
    text = "".join(
        json.dumps(entry, ensure_ascii=False, separators=(",", ":")) + "\n" for entry in items
    )
    packed = lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_bytes(packed)
    kinds = Counter(entry["kind"] for entry in items)
    print(f"{len(items)} prompts {dict(kinds)}, {len(text):,} characters, {len(packed):,} bytes")
    print(
        f"{len(peps)} of {len(contexts['peps-256k']['segments'])} proposals name their dedication"
    )


if __name__ == "__main__":
    main()

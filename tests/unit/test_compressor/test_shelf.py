"""What was read of a conversation is kept: the same is found, and a known text costs little."""

from __future__ import annotations

import random
import threading
import time

from documents import paragraph, prose
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.compress import compress
from compressor.conversation import Conversation, Message, Part, PartKind
from compressor.kit import Kit
from compressor.measure import measure
from compressor.media import media_rule
from compressor.memory import MemoryStore
from compressor.recipe import Fitted, Recipe, Way
from compressor.shelf import Shelf, Shelves, TeamShelves
from compressor.text import Words
from compressor.tokens import load_counter

COUNTER = load_counter("o200k_base")
PIECE = st.text(
    st.sampled_from("abcXYZ 019.?!\n-_éß漢字\ud800") | st.characters(codec=None), max_size=80
)


def turns(seed: int, count: int) -> list[Message]:
    """A conversation that says much, and asks for something said before."""
    rng = random.Random(seed)
    said = []
    for turn in range(count):
        text = "\n\n".join(paragraph(rng) for _ in range(rng.randint(1, 8)))
        if turn % 2 == 0:
            text += "\n\nWhat was the harbour of Petra sold for, and which mine was flooded?"
        part = Part(PartKind.TEXT, text, ("messages", turn, "content"))
        said.append(Message("user" if turn % 2 == 0 else "assistant", (part,)))
    return said


def fitted(messages: list[Message], kit: Kit) -> Fitted:
    """A compression of a conversation."""
    conversation = Conversation(tuple(messages))
    measured = measure(conversation, COUNTER, media_rule("openai_tiles"))
    return compress(conversation, measured, Recipe(Way.COMPRESS, 2_000, keep_recent=500), kit)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(PIECE, max_size=6), max_size=5), PIECE)
def test_what_is_found_does_not_depend_on_what_was_read_before(
    asked: list[list[str]], question: str
) -> None:
    """A shelf that saw other texts, the same ones, or was emptied finds what a new one does."""
    wanted = Words().query(question + " abc 019 XYZ")
    used, tiny = Shelf(), Shelf(limit_bytes=1)
    for texts in asked:
        fresh = Shelf().units(texts, wanted)
        assert used.units(texts, wanted) == fresh
        assert tiny.units(texts, wanted) == fresh


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.integers(6, 30))
def test_growing_conversations_fit_to_the_same_bytes_with_and_without(
    seed: int, count: int
) -> None:
    """Turn by turn, cached and uncached give equal edits and cuts."""
    messages = turns(seed, count)
    shelves, stores = Shelves().for_team("a"), (MemoryStore(lambda: 0.0), MemoryStore(lambda: 0.0))
    for end in range(1, count + 1, 2):
        plain = Kit(COUNTER, memory=stores[0].for_team("a"), session="s")
        kept = Kit(COUNTER, memory=stores[1].for_team("a"), session="s", shelves=shelves)
        assert fitted(messages[:end], plain) == fitted(messages[:end], kept)


def test_a_known_text_is_not_read_again() -> None:
    """The second look at a long history takes a fraction of the first."""
    texts = prose(400).split("\n\n")
    shelf, wanted = Shelf(), Words().query("harbour of Petra")
    took = []
    for _ in range(3):
        began = time.thread_time()
        shelf.units(texts, wanted)
        took.append(time.thread_time() - began)
    assert min(took[1:]) * 4 < took[0]


def test_shelves_are_bounded_and_apart() -> None:
    """The least used shelf goes first, one shelf empties itself, and no team sees another's."""
    texts = prose(60).split("\n\n")
    shelves = Shelves(total_bytes=400_000)
    for number in range(12):
        shelves.shelf("a", str(number)).units(texts, {})
    assert shelves.held_bytes < 600_000
    first, again = shelves.shelf("a", "s"), shelves.shelf("a", "s")
    assert first is again
    assert shelves.shelf("b", "s") is not first
    assert TeamShelves(shelves, "a").shelf("") is not TeamShelves(shelves, "a").shelf("")
    small = Shelf(limit_bytes=10_000)
    for at in range(len(texts)):
        small.units(texts[at : at + 1], {})
        assert small.size < 30_000


def test_threads_may_share_a_shelf() -> None:
    """Two requests of one conversation at the same time find what one alone finds."""
    texts = prose(80).split("\n\n")
    wanted = Words().query("harbour of Petra")
    shelf, alone, found = Shelf(limit_bytes=50_000), Shelf().units(texts, wanted), []

    def ask() -> None:
        found.extend(shelf.units(texts, wanted) == alone for _ in range(5))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 20

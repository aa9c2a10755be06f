"""What kind of reading a question asks for; it decides whether leaving text out is safe.

A look-up finds one place. A synthesis reads many. A transform works on every word. Chat
goes on from the last turns. What is not recognised stays UNKNOWN and is sent whole, so
every rule here errs away from LOOKUP: a cue of a wider reading always wins.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

import re2

from billing.record import record
from compressor.measure import Measurement
from router.plan import RequestFacts

HEAD_CHARS = 700  # of a long instruction, this much of each end is read
SHORT_QUESTION_WORDS = 45
DOCUMENT_TOKENS = 500  # below it the turn carries no document


class NeedKind(StrEnum):
    """The kinds of reading."""

    LOOKUP = "lookup"
    SYNTHESIS = "synthesis"
    TRANSFORM = "transform"
    CHAT = "chat"
    UNKNOWN = "unknown"


@record(frozen=True, slots=True)
class Need:
    """A kind of reading with its probability (0 to 1).

    ``identifiers``: the question names something findable letter by letter (a code, a
    number, a path, a quotation, a proper name).
    """

    kind: NeedKind
    confidence: float
    identifiers: bool = False


_START = (
    r"(?:^|[.!?;:\n]\s*|\b(?:please|pls|kindly|then|and|also|to|can you|could you|would you"
    r"|help me|i need you to|i want you to|let's|now)\s+)"
)
_POINTED = r"(?:this|that|these|those|it|the|my|our|following|above|below|attached|all|each|every)"
_TRANSFORM = re2.compile(
    r"(?i)"
    + _START
    + r"(?:translate|rewrite|re-write|rephrase|reword|paraphrase|proofread|edit|correct"
    r"|convert|reformat|format|refactor|anonymi[sz]e|redact|transcribe|transliterate"
    r"|clean up|polish|shorten|simplify|expand|improve|fix|debug|port|migrate|modernize"
    r"|annotate|comment|document|type-?check|lint|minify|encode|decode|normali[sz]e"
    r"|fill in|complete|continue|update|modify|replace|rename|remove|add|insert|merge"
    r"|sort|dedupe|deduplicate)\b"
)
_TURN_INTO = re2.compile(
    r"(?i)\b(?:turn|make|put|change|convert|render|transform|rework)\s+" + _POINTED + r"\b.{0,60}\b"
    r"(?:into|more|less|shorter|longer)\b|\binto (?:english|french|german|spanish|json|csv"
    r"|yaml|markdown|a table|python|typescript|rust|go|sql)\b"
)
_SYNTHESIS = re2.compile(
    r"(?i)\b(?:summar(?:y|ies|i[sz]e\w*|i[sz]ing|i[sz]ation)|tl;?dr|overview|outline"
    r"|abstract of|gist|key (?:points|takeaways|findings|facts|themes|ideas|insights)"
    r"|main (?:points?|ideas?|themes?|arguments?|topics?|conclusions?|message)|takeaways"
    r"|list (?:all|every|each|the)|all (?:of )?the|all\b|every|each|any other|how many"
    r"|how often|count|counts|compare|comparison|contrast|differences?|differ"
    r"|similarit\w+|versus|vs|relationship|overall|plot|storyline|themes?|tone|mood"
    r"|character arc|develop(?:s|ed)? (?:over|through)|chang(?:e|es|ed) (?:over"
    r"|throughout)|throughout|across|entire|whole|in general|discuss(?:ion|ed|es)?"
    r"|analy[sz]\w+|analysis|evaluat\w+|assess\w*|review|critique|trends?|timeline"
    r"|chronolog\w+|pros and cons|strengths?|weaknesses|advantages|what happen\w*"
    r"|significan\w+|importan\w+|role of|impact of|recommend\w*|suggest\w*|conclusions?"
    r"|conclude|decid\w+|decisions?|agree\w*|opinions?|attitudes?|think|thinks|thought"
    r"|feel|said|say about|views? (?:on|of)|most common|most frequent|average|mean|median"
    r"|total|sum of|rank\w*|top \d+|classify|categori[sz]e|cluster|extract all|find all"
    r"|identify all|everything|anything|both|contradict\w*|consistent|inconsisten\w+"
    r"|infer|imply|implies|why do you think|explain|describe|elaborate|report on|minutes"
    r"|action items|table of|inventory|features of|types? of|kinds? of|characteristics"
    r"|personalit\w+|setting|talk(?:ed)? about|mainly|presentations?|proposes|proposed"
    r"|disagree\w*|introduce[ds]?|reasons?|purposes|status|and what|what else)\b"
)
_LEAD = re2.compile(r"(?i)^\W*(?:(?:and|so|but|ok|okay|then|now|also|well)\b\W*)+")
_NUMBER_OF = re2.compile(r"(?i)(?:\b(\w+)[ -])?\bnumbers? of\b")
# Before "number of" these words make it a name of one thing and no count.
_NUMBERED = frozenset(
    b"serial phone telephone fax mobile account order version reference model part tracking invoice"
    b" case flight registration id atomic tax policy room street page house gate docket ticket"
    b" member customer employee contact licence license passport batch lot contract patent plate"
    b" bus".split()
)
_POSITION = re2.compile(
    r"(?i)\b(?:first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|last|latest|earliest"
    r"|previous|next|beginning|start|end|middle)\b.{0,24}\b(?:topics?|thing|turn|message|question|item"
    r"|entry|line|paragraph|section|chapter|page|part|point|step|sentence|word|record|row|speaker"
    r"|example|scene|we (?:discussed|talked))\b"
)
_WH = re2.compile(
    r"(?i)^\W{0,4}(?:(?:and|so|ok|okay|hi|hello|hey|please|then|now|also|q|question)\W+){0,2}"
    r"(?:in (?:the|order|which|what)\b.{0,90}?,\s*)?"
    r"(?:(?:in|on|at|from|to|for|of|under|with|by) )?"
    r"(?:who|whom|whose|when|where|which|what|how (?:much|long|old|big|far|large|high|tall|fast"
    r"|deep|wide|heavy|late|early|hot|cold)|did|does|do|is|was|are|were|has|have|had|can|could)\b"
)
_HOW = re2.compile(r"(?i)^\W{0,4}(?:(?:and|so|but|then|please)\W+){0,2}how\b")
_FIND = re2.compile(
    r"(?i)"
    + _START
    + r"(?:find|locate|look up|extract|get|give me|return|tell me|show me|fetch|quote|pull"
    r"|retrieve|identify|point me to|name)\b.{0,40}\b(?:value|line|sentence|passage"
    r"|clause|section|paragraph|function|method|class|key|price|date|name|number|id|code"
    r"|error|amount|address|email|phone|entry|record|field|quote|definition|version|url"
    r"|path|file|setting|deadline|who|when|where|which|what)\b"
)
_GENERATE = re2.compile(
    r"(?i)"
    + _START
    + r"(?:write|compose|draft|create|generate|design|implement|build|invent|imagine"
    r"|brainstorm|plan|prove|derive|solve|calculate|compute|code|make up|come up with"
    r"|act as|pretend)\b"
)
_CHATTY = re2.compile(
    r"(?i)^\W*(?:hi|hello|hey|yo|good (?:morning|afternoon|evening|night)|thanks?"
    r"|thank you|thx|cheers|yes|yeah|yep|no|nope|ok|okay|sure|great|perfect|nice|cool|lol"
    r"|bye|sorry|please|go ahead|go on|continue|commit(?: it)?|do it|ship it|try again"
    r"|again|sounds good|looks good|lgtm)\b"
)
_IDENTIFIER = re2.compile(
    r"[\"“”`«»][^\"“”`«»]{2,}|'[^'\s][^']{2,}'|\b[A-Za-z]*\d[\w.-]*\d\w*\b|\b\d{3,}\b|\b\w+_\w+\b"
    r"|\b[a-z]+[A-Z]\w*\b|\b\w+\(\)|\b[A-Z]{2,}-?\d+\b|#\w+|/\w+/\w+|\w+::\w+|\b\w+\.(?:py|js|ts|go|rs|c"
    r"|h|cpp|java|md|json|yaml|yml|txt|csv|log|sql)\b|\S@\S+\.\w"
)
_NAMES = re2.compile(
    r"(?:\s|^)\w+[,']?\s+(?:\w+\s+)*?([A-Z][a-z]{2,}\s+[A-Z][a-z]{2,}|[A-Z]{3,})\b"
)


def classify(question: str, facts: RequestFacts, measurement: Measurement) -> Need:
    """The kind of reading that ``question`` (the instruction without its document) needs.

    Confidence is the share of questions of known kind on which a cue was right, rounded
    down (docs/concepts/routing.md has the table).
    """
    text = question.strip()
    if len(text) > 2 * HEAD_CHARS:
        text = f"{text[:HEAD_CHARS]}\n{text[-HEAD_CHARS:]}"
    if not text:
        return Need(NeedKind.UNKNOWN, 0.0)
    raw = text.encode()  # once: a search of a str encodes it anew each time
    identifiers = bool(_IDENTIFIER.search(raw) or _NAMES.search(raw))
    followed = facts.human_turns > 1
    documents = measurement.document_tokens >= DOCUMENT_TOKENS
    if not documents and len(text) < 200 and _CHATTY.search(raw):
        return Need(NeedKind.CHAT, 0.9)
    unquoted = _unquoted(raw)
    wider = _wider(unquoted)
    if wider is not None:
        return Need(wider[0], wider[1], identifiers)
    looked_up = _lookup_confidence(raw, unquoted, identifiers)
    if looked_up > 0:
        return Need(NeedKind.LOOKUP, looked_up, identifiers)
    if not documents and (followed or _GENERATE.search(raw)):
        return Need(NeedKind.CHAT, 0.75, identifiers)
    return Need(NeedKind.UNKNOWN, 0.4, identifiers)


def _wider(unquoted: bytes) -> tuple[NeedKind, float] | None:
    """A cue that many or all places count, or None."""
    if _TURN_INTO.search(unquoted):
        return NeedKind.TRANSFORM, 0.85
    if _TRANSFORM.search(unquoted):
        return NeedKind.TRANSFORM, 0.8
    # "And what is ...?" goes on from the turn before; "who and what" asks for two things.
    if _SYNTHESIS.search(_LEAD.sub(b"", unquoted)) or _counts(unquoted):
        return NeedKind.SYNTHESIS, 0.8
    if _POSITION.search(unquoted):
        return NeedKind.UNKNOWN, 0.5
    return None


def _counts(unquoted: bytes) -> bool:
    """Whether it asks for a number of things, not for the number of one (a serial number)."""
    return any(
        (found[1] or b"").lower() not in _NUMBERED for found in _NUMBER_OF.finditer(unquoted)
    )


_ENGLISH = re2.compile(
    r"(?i)^\W*(?:who|whom|whose|which|what|when|where|how)\b|\S\s+(?:the|of|is|are|did|does|do|for|by|a|to|and|or|with|was|were|as|has|have|had|at"
    r"|from|on|be|it|this|that|not)\b"
)
_OPENING = "“".encode()
_QUOTED = re2.compile(r"\"[^\"]*\"|“[^”]*”|`[^`]*`")


def _unquoted(raw: bytes) -> bytes:
    """A text without what stands in quotation marks: quoted words ask for nothing."""
    if b'"' not in raw and b"`" not in raw and _OPENING not in raw:
        return raw
    return str(_QUOTED.sub(" ", raw.decode())).encode()


def _lookup_confidence(raw: bytes, unquoted: bytes, identifiers: bool) -> float:
    """How surely the text asks for one place; 0 when it does not look so at all."""
    if not identifiers and not _ENGLISH.search(raw):
        return 0.0  # the cues are English: "was" may be German
    for holds, named, plain in _cues(raw, unquoted):
        if holds:
            return named if identifiers else plain
    return 0.0


def _cues(raw: bytes, unquoted: bytes) -> Iterator[tuple[bool, float, float]]:
    """Whether each cue holds, surest first, with its confidence with and without identifiers."""
    asked = _last_question(unquoted)
    after_preamble = bool(_WH.search(asked)) and _is_short(asked)
    if not _is_short(unquoted):
        yield after_preamble, 0.8, 0.7
        yield bool(_FIND.search(raw) or _WH.search(raw)), 0.5, 0.0
        return
    yield bool(_FIND.search(raw) or _WH.search(raw) or _WH.search(unquoted)), 0.9, 0.75
    yield bool(_HOW.search(raw)), 0.7, 0.5
    yield after_preamble, 0.8, 0.7


def _is_short(text: bytes) -> bool:
    return len(text.decode().split()) <= SHORT_QUESTION_WORDS


_SENTENCE = re2.compile(r"[^.!?\n][^!?\n]*\?")
_PREAMBLE_END = re2.compile(r"[.!:]\s")


def _last_question(unquoted: bytes) -> bytes:
    """The last question of a text that says something before it; b"" without one."""
    asked = b""
    for found in _SENTENCE.finditer(unquoted):
        asked = found[0]
    ends = [found.end() for found in _PREAMBLE_END.finditer(asked)]
    return (asked[ends[-1] :] if ends else asked).strip()

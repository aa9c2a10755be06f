"""What the people of the demo say: turns written for it, apart from how they are used."""

from __future__ import annotations

TOOL_TURNS = (
    "Hi, where is my order #W4731920? It should have come on Monday.",
    "Please cancel order #W4862767, I ordered it by mistake.",
    "My account is under ana.ruiz@example.org. Can you find it for me?",
    "The lamp from order #W4998173 is broken, item 7453605304. Refund credit_card_9212193, please.",
)
TICKET_SCHEMA = {
    "type": "object",
    "properties": {
        "category": {"type": "string", "enum": ["billing", "shipping", "quality", "other"]},
        "urgency": {"type": "integer", "minimum": 1, "maximum": 5},
        "summary": {"type": "string", "maxLength": 200},
        "order_id": {"type": ["string", "null"]},
        "needs_reply": {"type": "boolean"},
    },
    "required": ["category", "urgency", "summary", "order_id", "needs_reply"],
    "additionalProperties": False,
}
TICKETS = (
    "Sort this ticket: I was charged twice for order #W2091016 and need it back before Friday.",
    "Sort this ticket: The boots are lovely, just wanted to say the parcel was a little wet.",
)
SESSION_QUESTIONS = (
    "Let us read some Python proposals together. What is the first one for, in two sentences?",
    "Here is the next one. Does it change the language or only the tools around it?",
    "And this one. Who wrote it, and what was its status?",
    "Next. What problem does it say people have today?",
    "This one too, please. Would it break existing programs?",
    "One more. What alternatives did the author turn down?",
    "And this. Is there a part of it that a library author must read?",
    "Another. What does it say about performance?",
    "The last one for today. What would you ask its author?",
)
SESSION_CLOSING = (
    "Good. Of all we have read, which proposal should our team look at first, and why?",
)
RESUMED_TURNS = 8
RESUMED_CLOSING = (
    "We go on tomorrow. Summarise for the minutes what we have read so far, a line each.",
    "Back after the break. Compare the proposals we have read: which ones belong together?",
)

"""What is added to a prompt without asking anything moves at most one route in ten."""

from __future__ import annotations

import runpy
from itertools import product
from pathlib import Path

import pytest

from router.complexity import bundled_complexity
from router.plan import RequestFacts

BENCHMARK = runpy.run_path(str(Path(__file__).parents[3] / "benchmarks" / "gadgets.py"))
GADGETS, flips = BENCHMARK["GADGETS"], BENCHMARK["flips"]
MODEL = bundled_complexity()
MOST_PERCENT = 10.0

_ASKED = (
    "What is the capital of {0}?", "Who wrote the most famous novel about {0}?",
    "When was the first museum of {0} opened?", "Name three things that people bring to {0}.",
    "What do people usually eat for breakfast in {0}?",
    "Where would you look for a map of {0}?\nA. kitchen\nB. library\nC. river\nD. oven",
    "Which of the following is closest to {0}?\nA. the moon\nB. a star\nC. the sea\nD. Mars",
    ("A train leaves {0} at 60 miles per hour and another 2 hours later at 90 miles per hour. After"
    " how many hours does the second one meet the first?"),
    ("A court in {0} holds that the defendant was negligent. Which defence is most likely to"
    " succeed?\nA. consent\nB. contributory negligence\nC. necessity\nD. none of the above"),
    ("A 54-year-old man from {0} has fever, chest pain and a blood pressure of 90/60 mmHg. What is"
    " the best next step?\nA. antibiotics\nB. echocardiography\nC. surgery\nD. discharge"),
    ("If the polynomial x^2 + 3x + 7 is reduced modulo 5 for a code used in {0}, how many roots has"
    " it?\nA. 0\nB. 1\nC. 2\nD. 5"),
    "Write a python function that sorts the streets of {0} by their length.",
)  # fmt: skip
_PLACES = ("Portugal", "Norway", "Kenya", "Chile", "Japan", "Ireland", "Cuba", "Peru")
PROMPTS = [asked.format(place) for asked, place in product(_ASKED, _PLACES)]


@pytest.mark.parametrize("gadget", list(GADGETS))
def test_a_gadget_flips_one_in_ten_at_most(gadget: str) -> None:
    """At the default floor, a gadget changes the route of at most a tenth, up and down."""
    border = MODEL.score(PROMPTS[0], RequestFacts("auto")).gain_limit(0.97)
    up, down = flips(MODEL, PROMPTS, GADGETS[gadget], border)
    assert up <= MOST_PERCENT
    assert down <= MOST_PERCENT

"""How the dashboard looks: one colour for one thing, in light and in dark.

Streamlit is given the theme through its environment, since the folder that it is started
in is the user's own.
"""

from __future__ import annotations

import html
from collections.abc import Mapping

PAID = "#0E8A82"
TOKENMAXXED = "#DE8F2B"
BUDGET = "#7568D8"
SAVES = "#7FB8B2"
COSTS = "#C2504A"
EARLIER = "#93A09D"

_FONT = "'Inter', 'Segoe UI', 'Helvetica Neue', 'Liberation Sans', Arial, sans-serif"
_SHARED = {
    "primaryColor": PAID,
    "font": _FONT,
    "headingFont": _FONT,
    "baseRadius": "0.4rem",
    "buttonRadius": "0.4rem",
    "showWidgetBorder": "true",
    "linkUnderline": "false",
}
_LIGHT = {
    "backgroundColor": "#FBFBF9",
    "secondaryBackgroundColor": "#F0F2EF",
    "textColor": "#15242A",
    "linkColor": "#0A6B65",
    "borderColor": "#D9DED9",
    "dataframeHeaderBackgroundColor": "#F0F2EF",
}
_LIGHT_SIDEBAR = {"backgroundColor": "#10292D", "textColor": "#E4EEEC", "borderColor": "#2B474B"}
_DARK = {
    "primaryColor": "#3DBFB4",
    "backgroundColor": "#0D1719",
    "secondaryBackgroundColor": "#16252A",
    "textColor": "#E4ECEA",
    "linkColor": "#52C4BB",
    "borderColor": "#2A3D41",
    "dataframeHeaderBackgroundColor": "#16252A",
}
_DARK_SIDEBAR = {"backgroundColor": "#091113", "textColor": "#D6E2E0", "borderColor": "#22363A"}
_SIDEBAR_SHARED = {
    "primaryColor": "#35B5AB",
    "secondaryBackgroundColor": "#1B3A3F",
    "linkColor": "#7FD3CB",
}

CSS = f"""
<style>
[data-testid="stMetricValue"], [data-testid="stDataFrame"], [data-testid="stTable"], .weir-figures
  {{ font-variant-numeric: tabular-nums; }}
[data-testid="stMetricValue"] {{ font-weight: 650; letter-spacing: -0.01em; }}
[class*="st-key-figure-"] {{ border-left: 4px solid transparent; padding-left: 1rem; }}
[class*="st-key-figure-paid"] {{ border-left-color: {PAID}; }}
[class*="st-key-figure-tokenmaxxed"] {{ border-left-color: {TOKENMAXXED}; }}
[class*="st-key-figure-forecast"] {{ border-left-color: {SAVES}; }}
[class*="st-key-figure-last"] {{ border-left-color: {EARLIER}; }}
[class*="st-key-figure-budget"] {{ border-left-color: {BUDGET}; }}
[data-testid="stMainBlockContainer"] {{ padding-top: 3.2rem; max-width: 86rem; }}
@media (min-width: 60rem) {{
  [data-testid="stMainBlockContainer"] {{ padding-left: 3rem; padding-right: 3rem; }}
}}
h1 {{ font-size: 2rem !important; }}
h2, h3 {{ font-size: 1.2rem !important; }}
.weir-lead {{ font-size: 1.15rem; line-height: 1.55; max-width: 60rem; margin: .5rem 0 .75rem; }}
.weir-key {{ display: inline-block; width: .7em; height: .7em; border-radius: .15em;
  margin: 0 .35em 0 0; }}
.weir-diff {{ white-space: pre-wrap; overflow-wrap: anywhere; max-height: 26rem; overflow: auto;
  font-size: .86rem; line-height: 1.5; padding: .6rem .8rem; border-radius: .4rem;
  border: 1px solid color-mix(in srgb, currentColor 18%, transparent); }}
.weir-diff-legend > * {{ margin-right: .8em; font-size: .86rem; }}
.weir-diff del, .weir-diff-legend del {{ background: color-mix(in srgb, {COSTS} 22%, transparent);
  text-decoration-color: {COSTS}; }}
.weir-diff mark, .weir-diff-legend mark {{ color: inherit;
  background: color-mix(in srgb, {TOKENMAXXED} 30%, transparent); }}
.weir-fold {{ opacity: .65; font-weight: 500; font-style: italic; }}
.weir-strip {{ position: relative; height: 1.1rem; border-radius: .25rem; overflow: hidden;
  background: color-mix(in srgb, {PAID} 35%, transparent); }}
.weir-strip i {{ position: absolute; top: 0; bottom: 0; }}
.weir-cut {{ background: {COSTS}; }} .weir-short {{ background: {TOKENMAXXED}; }}
.weir-legend {{ font-size: .86rem; opacity: .85; }}
.weir-legend span {{ margin-right: 1.2em; white-space: nowrap; }}
</style>
"""


def environment() -> Mapping[str, str]:
    """Streamlit's settings for the theme, as environment variables."""
    sections = {
        "THEME": _SHARED,
        "THEME_LIGHT": _LIGHT,
        "THEME_LIGHT_SIDEBAR": {**_SIDEBAR_SHARED, **_LIGHT_SIDEBAR},
        "THEME_DARK": _DARK,
        "THEME_DARK_SIDEBAR": {**_SIDEBAR_SHARED, **_DARK_SIDEBAR},
    }
    return {
        f"STREAMLIT_{section}_{_shout(name)}": value
        for section, options in sections.items()
        for name, value in options.items()
    }


def logo() -> str:
    """The mark and the name as SVG, for the dark sidebar."""
    name = (
        '<text x="42" y="25" font-family="Segoe UI, Helvetica Neue, Liberation Sans, Arial" '
        'font-size="21" font-weight="700" fill="#E4EEEC">Tokenweir</text>'
    )
    return _svg(168, name)


def mark() -> str:
    """The mark alone as SVG, for any background."""
    return _svg(36, "")


def _svg(width: int, name: str) -> str:
    """A weir, one level of water above the other."""
    stroke = 'fill="none" stroke-width="3.2" stroke-linecap="round"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} 34" role="img" '
        'aria-label="Tokenweir">'
        f'<path d="M2 12h13c5 0 4 11 9 11h8" stroke="{TOKENMAXXED}" {stroke}/>'
        f'<path d="M2 19h11c5 0 4 11 9 11h10" stroke="#35B5AB" {stroke}/>{name}</svg>'
    )


def lead(sentence: str) -> str:
    """HTML of the one sentence that says it all."""
    return f'<p class="weir-lead">{html.escape(sentence)}</p>'


def legend(*names: str) -> str:
    """HTML that says which colour stands for what."""
    colours = {
        "paid": PAID,
        "tokenmaxxed": TOKENMAXXED,
        "budget": BUDGET,
        "forecast": SAVES,
        "month before": EARLIER,
    }
    parts = (
        f'<span><i class="weir-key" style="background:{colours[name]}"></i>{name}</span>'
        for name in names
    )
    return f'<div class="weir-legend">{"".join(parts)}</div>'


def _shout(name: str) -> str:
    """``primaryColor`` as ``PRIMARY_COLOR``."""
    return "".join(f"_{c}" if c.isupper() else c for c in name).upper()

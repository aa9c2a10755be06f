"""Request headers in, response headers out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.recipe import Way
from gateway import headers
from gateway.errors import InvalidRequest


def read(**named: str) -> headers.ClientHeaders:
    """What is read of headers by name, underscores for hyphens."""
    return headers.read([(k.replace("_", "-").encode(), v.encode()) for k, v in named.items()])


def test_without_headers_everything_is_allowed_and_nothing_is_named() -> None:
    """The defaults restrict nothing: a client can only tighten."""
    found = headers.read([])
    assert (found.mode, found.fit, found.secret, found.session) == (
        "route",
        Way.COMPRESS,
        None,
        None,
    )


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("authorization", "Bearer weir-abc", "weir-abc"),
        ("authorization", "bearer weir-abc ", "weir-abc"),
        ("authorization", "Basic abc", None),
        ("x_api_key", "weir-abc", "weir-abc"),
    ],
)
def test_both_ways_of_sending_a_key_are_read(name: str, value: str, secret: str | None) -> None:
    """A Bearer token or x-api-key is the secret; another scheme is none."""
    assert read(**{name: value}).secret == secret


@pytest.mark.parametrize(
    ("value", "way"),
    [
        ("off", Way.WHOLE),
        ("lossless", Way.LOSSLESS),
        ("trim", Way.TRIM),
        ("compress", Way.COMPRESS),
    ],
)
def test_fit_names_the_strongest_way_allowed(value: str, way: Way) -> None:
    """Each word of x-weir-fit is one way."""
    assert read(x_weir_fit=value).fit is way


def test_tags_are_pairs() -> None:
    """Tags keep their order, their spaces are trimmed, empty ones are left out."""
    assert read(x_weir_tags="a=1, b=two words,,c=").tags == {"a": "1", "b": "two words", "c": ""}


@pytest.mark.parametrize(("value", "nano"), [("0.25", 250_000_000), ("0", 0), ("1e-3", 1_000_000)])
def test_a_ceiling_is_read_as_money(value: str, nano: int) -> None:
    """x-weir-max-cost-usd is exact decimal USD."""
    assert read(x_weir_max_cost_usd=value).max_cost_nano == nano


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x_weir_mode", "fast"),
        ("x_weir_fit", "hard"),
        ("x_weir_wire", "soap"),
        ("x_weir_tags", "novalue"),
        ("x_weir_tags", "a b=1"),
        ("x_weir_session", "s" * 201),
        ("x_weir_max_cost_usd", "1 USD"),
        ("x_weir_max_cost_usd", "1000001"),
        ("x_weir_max_cost_usd", "sNaN"),
        ("x_weir_max_cost_usd", "4.4e-286"),
    ],
)
def test_an_impossible_value_names_its_header(name: str, value: str) -> None:
    """The error's param is the header's name, and a long value is cut."""
    with pytest.raises(InvalidRequest) as caught:
        read(**{name: value})
    assert caught.value.param == name.replace("_", "-")
    assert len(str(caught.value)) < 250


@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                [
                    b"authorization", b"x-api-key", b"content-length", b"content-encoding",
                    b"x-weir-mode", b"x-weir-fit", b"x-weir-session", b"x-weir-tags",
                    b"x-weir-max-cost-usd", b"x-weir-user", b"idempotency-key", b"cookie",
                ]
            ),
            st.binary(max_size=40),
        ),
        max_size=8,
    )
)  # fmt: skip
def test_no_header_bytes_fail_in_another_way(raw: list[tuple[bytes, bytes]]) -> None:
    """Any bytes in any header are read or refused as invalid."""
    try:
        found = headers.read(raw)
    except InvalidRequest:
        return
    assert found.mode in {"pass", "route"}


def test_only_harmless_headers_go_upstream() -> None:
    """Credentials, cookies, our own headers and the host never go to a provider."""
    raw = [
        (b"authorization", b"Bearer weir-x"), (b"x-api-key", b"weir-x"), (b"cookie", b"a=b"),
        (b"host", b"evil"), (b"x-weir-session", b"s"), (b"idempotency-key", b"k"),
        (b"openai-beta", b"assistants=v2"), (b"traceparent", b"00-1-2-01"),
        (b"x-forwarded-for", b"10.0.0.1"),
    ]  # fmt: skip
    assert headers.forwarded(raw) == {"openai-beta": "assistants=v2", "traceparent": "00-1-2-01"}


def test_only_listed_headers_come_back() -> None:
    """A provider's ids and limits pass; its cookies, framing and account do not."""
    kept = headers.passed_back(
        {
            "X-Request-Id": "req_1", "Retry-After": "3", "X-RateLimit-Remaining-Requests": "9",
            "openai-processing-ms": "12", "OpenAI-Organization": "org-secret", "Set-Cookie": "a",
            "Transfer-Encoding": "chunked", "Connection": "close", "Content-Encoding": "gzip",
            "Server": "x", "x-weir-cost-usd": "0",
        }
    )  # fmt: skip
    assert dict(kept) == {
        b"x-request-id": b"req_1",
        b"retry-after": b"3",
        b"x-ratelimit-remaining-requests": b"9",
        b"openai-processing-ms": b"12",
    }

"""Bad input on a real socket: the contract's error, nothing sent, nothing leaked, alive."""

from __future__ import annotations

import gzip
import json
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from processes import House, Key, Running, gateway, get, simulator

MODEL = "gpt-6.1-sol"
WORD = "xylophone"
OK: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": f"Say {WORD}."}]}
PATH = "/v1/chat/completions"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A house whose gateway knows a live key and a revoked one."""
    folder = tmp_path_factory.mktemp("bad-input")
    key, gone = Key.new(), REVOKED
    config = f"""
database: sqlite:///{folder}/weir.db
upstreams: {{ sim: {{ kind: openai, base_url: "%s/v1", api_key: sk-sim, provider: openai }} }}
models: {{ {MODEL}: {{ upstream: sim, tier: mid }} }}
teams: {{ t: {{ keys: [main, old], budget: 100 per month }} }}
keys:
  main: {key.hash}
  old: {{ hash: "{gone.hash}", revoked: true }}
"""
    with simulator(folder) as provider, gateway(folder, config % provider.url) as running:
        yield House(provider, running, key, folder)


REVOKED = Key.new()


@pytest.fixture(autouse=True)
def _nothing_sent_nothing_leaked(house: House) -> Iterator[None]:
    """Around each test: no call reached the provider, no row was written, the process lives."""
    before = served(house), rows(house)
    yield
    assert (served(house), rows(house)) == before
    assert get(house.gateway.url + "/healthz").json()["status"] == "ok"
    log = house.gateway.log.read_text()
    for secret in (WORD, house.key.secret, REVOKED.secret, "Traceback", "sk-sim"):
        assert secret not in log


def served(house: House) -> int:
    """Requests that the provider has seen."""
    count: int = get(house.provider.url + "/sim/served").json()["requests"]
    return count


def rows(house: House) -> int:
    """Rows in the ledger."""
    with house.client() as client:
        return len(client.get("/weir/receipts?limit=1000").json()["data"])


def check(answer: httpx.Response, status: int, code: str | None = None) -> dict[str, Any]:
    """The contract's error shape, with no trace, key or prompt in it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("application/json")
    error: dict[str, Any] = answer.json()["error"]
    assert set(error) >= {"message", "type", "param", "code"}
    assert answer.json()["request_id"] == answer.headers["x-weir-request-id"]
    if code is not None:
        assert error["code"] == code
    for secret in (WORD, "Traceback", ".py", REVOKED.secret, "sk-sim"):
        assert secret not in answer.text
    return error


def post(house: House, content: bytes, **headers: str) -> httpx.Response:
    """Raw bytes as a body."""
    with house.client(**headers) as client:
        return client.post(PATH, content=content)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"   ",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"7",
        b'{"model":NaN}',
        b'{"model": "gpt-6.1-sol", "messages": [{"role":"user","content":"\xff\xfe"}]}',
        b'{"model": "gpt-6.1-sol", "messages": [{"role":"user","content":"\\ud83d"}]}',
        b'{"a":' * 65 + b"1" + b"}" * 65,
        b'{"a":' * 200_000,
        b"\x00\x01\x02",
        json.dumps(OK).encode()[:-1],
        json.dumps(OK).encode() + b"{}",
        b'{"model":"gpt-6.1-sol","model":"auto","messages":[{"role":"user","content":"x"}]}',
        b'{"mod\\u0065l":"auto","model":"gpt-6.1-sol","messages":[{"role":"user","content":"x"}]}',
    ],
    ids=lambda content: repr(content[:24]),
)
def test_a_body_that_is_no_request_is_a_400(house: House, content: bytes) -> None:
    """What is no JSON object, or ambiguous, is refused with the place of the mistake."""
    error = check(post(house, content), 400)
    assert error["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("field", "value", "param"),
    [
        ("model", None, "model"),
        ("model", 7, "model"),
        ("model", "", "model"),
        ("messages", None, "messages"),
        ("messages", {}, "messages"),
        ("messages", [], "messages"),
        ("messages", ["x"], "messages[0]"),
        ("messages", [{"role": 3, "content": "x"}], "messages[0].role"),
        ("messages", [{"role": "robot", "content": "x"}], "messages[0].role"),
        ("messages", [{"role": "user", "content": 7}], "messages[0].content"),
        ("messages", [{"role": "user", "content": ["x"]}], "messages[0].content[0]"),
        ("messages", [{"role": "assistant", "tool_calls": {}}], "messages[0].tool_calls"),
        ("stream", "yes", "stream"),
        ("stream_options", "all", "stream_options"),
        ("max_tokens", "many", "max_tokens"),
        ("max_tokens", 0, "max_tokens"),
        ("max_tokens", -1, "max_tokens"),
        ("max_tokens", 1.5, "max_tokens"),
        ("max_tokens", 10**30, "max_tokens"),
        ("max_completion_tokens", True, "max_completion_tokens"),
        ("n", 0, "n"),
        ("n", "two", "n"),
        ("n", [2], "n"),
        ("tools", "hammer", "tools"),
    ],
)
def test_a_field_of_the_wrong_type_is_named(
    house: House, field: str, value: object, param: str
) -> None:
    """A field that the gateway uses is refused by name when no provider could take it."""
    error = check(post(house, json.dumps({**OK, field: value}).encode()), 400)
    assert error["param"] == param
    assert param in error["message"]


def test_absurd_counts_cannot_pass_the_budget(house: House) -> None:
    """A billion choices is no crash: the hold does not fit, nothing is sent."""
    check(post(house, json.dumps({**OK, "n": 10**9, "max_tokens": 10**9}).encode()), 402)


def test_an_unknown_model_is_a_404_that_names_the_known_ones(house: House) -> None:
    """A model nobody declared is refused, and the message lists what there is."""
    answer = post(house, json.dumps({**OK, "model": "gpt-nowhere"}).encode())
    assert MODEL in check(answer, 404, "model_not_found")["message"]


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({}, 401, "invalid_api_key"),
        ({"authorization": "Bearer weir-nobody"}, 401, "invalid_api_key"),
        ({"authorization": "Bearer"}, 401, "invalid_api_key"),
        ({"authorization": "Basic d2VpcjpwYXNz"}, 401, "invalid_api_key"),
        ({"x-api-key": "weir-nobody"}, 401, "invalid_api_key"),
        ({"x-api-key": "x" * 5000}, 401, "invalid_api_key"),
        ({"authorization": f"Bearer {REVOKED.secret}"}, 403, "key_disabled"),
        ({"x-api-key": REVOKED.secret}, 403, "key_disabled"),
    ],
)
def test_no_key_and_bad_keys_come_nowhere(
    house: House, headers: dict[str, str], status: int, code: str
) -> None:
    """Without a good key every route that knows anything refuses, before reading the body."""
    for method, path in (
        ("POST", PATH),
        ("POST", "/weir/explain"),
        ("GET", "/v1/models"),
        ("GET", "/v1/models/gpt-6.1-sol"),
        ("GET", "/weir/receipts"),
        ("GET", "/weir/receipts/01J"),
        ("GET", "/weir/receipts/01J/audit"),
        ("GET", "/weir/budgets"),
    ):
        with httpx.Client(base_url=house.gateway.url, headers=headers) as http:
            check(
                http.request(method, path, content=b"{" if method == "POST" else None), status, code
            )


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/", 404, "not_found"),
        ("GET", "/v1", 404, "not_found"),
        ("GET", "/v1/models/", 404, "not_found"),
        ("GET", "/healthz/", 404, "not_found"),
        ("POST", "/v1/chat/completions/", 404, "not_found"),
        ("POST", "/v1/nothing", 404, "not_found"),
        ("GET", "/docs", 404, "not_found"),
        ("GET", "/openapi.json", 404, "not_found"),
        ("GET", "/../../etc/passwd", 404, "not_found"),
        ("GET", "/weir/receipts/%2e%2e%2f01J", 404, "not_found"),
        ("GET", "/weir/receipts/01J", 404, "not_found"),
        ("GET", PATH, 405, "method_not_allowed"),
        ("DELETE", PATH, 405, "method_not_allowed"),
        ("DELETE", "/weir/receipts", 405, "method_not_allowed"),
        ("GET", "/weir/receipts?limit=0", 400, "invalid"),
        ("GET", "/weir/receipts?limit=all", 400, "invalid"),
    ],
)
def test_paths_that_are_not_there_say_so(
    house: House, method: str, path: str, status: int, code: str
) -> None:
    """An unknown path, a wrong method and a bad query have the same error shape."""
    with house.client() as client:
        check(client.request(method, path), status, code)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-weir-mode", "cheapest"),
        ("x-weir-fit", "harder"),
        ("x-weir-wire", "soap"),
        ("x-weir-session", "s" * 201),
        ("x-weir-session", "caf\u00e9"),
        ("x-weir-task", "a\tb"),
        ("x-weir-tags", "novalue"),
        ("x-weir-tags", ",".join(f"k{n}=v" for n in range(17))),
        ("x-weir-tags", "k=" + "v" * 129),
        ("x-weir-max-cost-usd", "cheap"),
        ("x-weir-max-cost-usd", "-1"),
        ("x-weir-max-cost-usd", "NaN"),
        ("x-weir-max-cost-usd", "1e400"),
        ("idempotency-key", "k" * 201),
    ],
)
def test_a_bad_header_of_ours_is_named(house: House, name: str, value: str) -> None:
    """A gateway header with an impossible value is a 400 that names it."""
    raw = value.encode("latin-1")
    with house.client() as client:
        answer = client.post(PATH, json=OK, headers=[(name.encode(), raw)])
    error = check(answer, 400)
    assert name in error["message"].lower()


def test_a_compressed_body_is_a_415(house: House) -> None:
    """A body that would have to be unpacked is refused by its header."""
    answer = post(house, gzip.compress(json.dumps(OK).encode()), **{"content-encoding": "gzip"})
    check(answer, 415, "encoding_unsupported")


def raw_exchange(running: Running, *pieces: bytes) -> bytes:
    """What comes back on a plain socket until the other side closes or falls silent."""
    host, port = running.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as sock:
        sock.settimeout(5)
        try:
            for piece in pieces:
                sock.sendall(piece)
        except ConnectionError:
            pass  # refused while we were still sending
        got = b""
        try:
            while data := sock.recv(65536):
                got += data
                head, _, body = got.partition(b"\r\n\r\n")
                length = [
                    int(line.split(b":")[1])
                    for line in head.lower().split(b"\r\n")
                    if line.startswith(b"content-length:")
                ]
                if length and len(body) >= length[0]:
                    break
        except (TimeoutError, ConnectionError):
            pass
        return got


def head(house: House, *lines: str) -> bytes:
    """A request head with the key."""
    fixed = ["POST /v1/chat/completions HTTP/1.1", "Host: weir",
             f"Authorization: Bearer {house.key.secret}"]  # fmt: skip
    return ("\r\n".join([*fixed, *lines]) + "\r\n\r\n").encode("latin-1")


def test_fifty_megabytes_are_refused_by_their_length(house: House) -> None:
    """A Content-Length over the limit is answered before any of the body is sent."""
    got = raw_exchange(house.gateway, head(house, f"Content-Length: {50 * 2**20}"))
    assert got.startswith(b"HTTP/1.1 413")
    assert json.loads(got.partition(b"\r\n\r\n")[2])["error"]["code"] == "body_too_large"


def test_fifty_megabytes_in_chunks_are_refused_while_reading(house: House) -> None:
    """A body without a length is cut off at the limit, whatever it would have become."""
    piece = b"%x\r\n%b\r\n" % (2**20, b'"' * 2**20)
    got = raw_exchange(house.gateway, head(house, "Transfer-Encoding: chunked"), *[piece] * 50)
    assert got.startswith(b"HTTP/1.1 413")
    assert b"body_too_large" in got


def test_a_client_library_sees_the_413_too(house: House) -> None:
    """A client that sends all fifty megabytes still reads the answer."""
    check(post(house, b'{"a":"' + b"x" * (50 * 2**20) + b'"}'), 413, "body_too_large")


@pytest.mark.parametrize(
    "lines",
    [
        ("Content-Length: 5", "Transfer-Encoding: chunked"),
        ("Content-Length: 5", "Content-Length: 6"),
        ("Content-Length: x",),
        ("Content-Length: -1",),
        ("Transfer-Encoding: chunked", "Bad Header Name: x"),
    ],
)
def test_ambiguous_framing_is_refused(house: House, lines: tuple[str, ...]) -> None:
    """Two readings of where a request ends are never allowed to differ: 400, and the end."""
    got = raw_exchange(house.gateway, head(house, *lines), b"0\r\n\r\n")
    assert got.startswith(b"HTTP/1.1 400")


def test_a_line_break_in_a_header_makes_no_header(house: House) -> None:
    """A value that tries to add a header of its own comes back in no answer."""
    got = raw_exchange(
        house.gateway,
        head(house, "x-weir-session: a%0d%0aSet-Cookie:%20x=y", "Content-Length: 2"),
        b"{}",
    )
    assert got.startswith(b"HTTP/1.1 400")
    assert b"set-cookie" not in got.lower()


def test_garbage_on_the_socket_ends_that_connection_alone(house: House) -> None:
    """Bytes that are no HTTP get a 400 or a closed connection."""
    got = raw_exchange(house.gateway, b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n")
    assert got == b"" or got.startswith(b"HTTP/1.1 400")

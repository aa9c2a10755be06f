"""What aiohttp says of a call that got no status, in our own words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp

from gateway.errors import ConnectTimeout, Unanswered, UpstreamFailed, UpstreamTimeout
from gateway.upstream.protocol import Timeouts

UNUSABLE = (aiohttp.ClientError, OSError, ValueError)
# These come before the request goes out; whatever else fails may have been billed.
_UNSENT = (aiohttp.ClientConnectorError, aiohttp.ClientProxyConnectionError, aiohttp.InvalidURL)


@contextmanager
def told(name: str, timeouts: Timeouts) -> Iterator[None]:
    """Around a call to an upstream, up to its status.

    Raises:
        UpstreamFailed: nothing was sent. Unanswered: no status came back.
        ConnectTimeout, UpstreamTimeout: no connection, no status in time.
    """
    try:
        yield
    except aiohttp.ConnectionTimeoutError:
        raise ConnectTimeout(
            f"upstream {name!r}: no connection within {timeouts.connect:g} s; raise "
            f"upstreams.{name}.timeouts.connect if it is far away"
        ) from None
    except TimeoutError:
        raise UpstreamTimeout(
            f"upstream {name!r} sent no status within {timeouts.first_byte:g} s; "
            f"raise upstreams.{name}.timeouts.first_byte if its models need longer"
        ) from None
    except _UNSENT as error:
        raise UpstreamFailed(
            f"upstream {name!r} could not be reached ({type(error).__name__})"
        ) from None
    except UNUSABLE as error:
        raise Unanswered(
            f"upstream {name!r} broke off without an answer ({type(error).__name__})"
        ) from None

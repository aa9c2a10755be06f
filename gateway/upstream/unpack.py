"""Undoing a Content-Encoding, in pieces of bounded size: a bomb stays small in memory."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from gateway.errors import BrokenOff

PIECE_BYTES = 256 * 1024
_AUTO = 32 + zlib.MAX_WBITS  # gzip or zlib, told by its head


class Unpacker:
    """gzip, or deflate with or without its zlib frame."""

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._inflate = zlib.decompressobj(_AUTO)
        self._begun = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What ``data`` unpacks to, in pieces.

        Raises:
            BrokenOff: it is not what its encoding says.
        """
        if not self._begun and data:
            self._begun = True
            if data[0] != 0x1F and data[0] & 0x0F != 8:  # neither gzip nor zlib: bare deflate
                self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        piece = b""
        while data or len(piece) == PIECE_BYTES:  # a full piece may have left some inside
            if self._inflate.eof:  # a further gzip member follows
                self._inflate = zlib.decompressobj(_AUTO)
            try:
                piece = self._inflate.decompress(data, PIECE_BYTES)
            except zlib.error:
                raise self._broken() from None
            data = self._inflate.unconsumed_tail or self._inflate.unused_data
            if piece:
                yield piece

    def end(self) -> None:
        """Raises BrokenOff where the packed data stops in the middle."""
        if self._begun and not self._inflate.eof:
            raise self._broken()

    def _broken(self) -> BrokenOff:
        return BrokenOff(f"upstream {self._upstream!r} broke off its answer (bad encoding)")


class _Refuses(Unpacker):
    """An encoding that was not asked for and is not known here."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Raises BrokenOff at once."""
        raise self._broken()


def unpacker(coding: str, upstream: str) -> Unpacker | None:
    """What undoes ``Content-Encoding: coding``; None where there is nothing to undo."""
    match coding.strip().lower():
        case "" | "identity":
            return None
        case "gzip" | "x-gzip" | "deflate":
            return Unpacker(upstream)
        case _:
            return _Refuses(upstream)

"""What this package raises."""

from __future__ import annotations


class CompressorError(Exception):
    """Base of every error of the compressor package."""


class UnknownEncoding(CompressorError):
    """A tokenizer name that nothing here can load."""


class ModelFilesMissing(CompressorError):
    """An embedding or summariser model whose files are not on this machine."""


class EmbedderAway(CompressorError):
    """A server of sentence vectors that did not answer in time; ranking does without."""

"""Networks whose features distances are taken on. Each names the numbers that it gives."""

from d2c.evaluate.extractors.names import Asked, extractors_of

__all__ = ["Asked", "extractors_of"]

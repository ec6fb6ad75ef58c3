"""Images and labels: sources, ingest, the crop, thumbnails and readers."""

from d2c.data.ingest import IngestConfig, ingest

__all__ = ["IngestConfig", "ingest"]

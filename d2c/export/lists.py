"""The list alone: CSV, or Parquet with the recipe in its metadata."""

from __future__ import annotations

import io
import json
from pathlib import Path

from d2c.artifacts import Artifact
from d2c.export.card import record
from d2c.export.contents import Contents, contents_of, write_manifest
from d2c.export.verb import ExportConfig, target
from d2c.progress import Progress
from d2c.select.records import METADATA


def write(contents: Contents, place: Path, config: ExportConfig, progress: Progress) -> int:
    """Write the list into `place` under the name that it will have."""
    name = target(config).name
    if config.format == "csv":
        write_manifest(contents, place, (), name)
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.Table.from_pandas(contents.table, preserve_index=False)
        said = {**(table.schema.metadata or {}), METADATA: json.dumps(record(contents, config)).encode()}
        pq.write_table(table.replace_schema_metadata(said), place / name, compression="zstd")
    progress.advance(len(contents))
    return 0


def csv_of(chosen: Artifact) -> bytes:
    """The list of a subset or condensed set as a CSV file's bytes, UTF-8."""
    text = io.StringIO()
    contents_of(chosen, ExportConfig("csv")).table.to_csv(text, index=False, lineterminator="\n")
    return text.getvalue().encode()

"""Taking a chosen set out of the workspace: a list, or a folder that other software reads, each with its card."""

from d2c.export.verb import FORMATS, ExportConfig, Exported, export

__all__ = ["FORMATS", "ExportConfig", "Exported", "export"]

"""The report: one self-contained HTML file on a judgement, a run, a chosen set or a comparison. Free of torch."""

from d2c.report.verb import ReportConfig, Reported, html_of, report

__all__ = ["ReportConfig", "Reported", "html_of", "report"]

"""Reusable views. A page arranges them; none of them computes."""

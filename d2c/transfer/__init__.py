"""What a condensed set and a run are good for elsewhere: classifiers trained on them, and other data sets."""

from d2c.transfer.verb import TransferConfig, transfer

__all__ = ["TransferConfig", "transfer"]

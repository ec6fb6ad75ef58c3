"""How each format is read back, as its card says it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping


def _code(text: str) -> Callable[[str], str]:
    """Lines of Python with PATH for the export's own name."""
    return lambda path: f"```python\n{text.strip().replace('PATH', json.dumps(path, ensure_ascii=False))}\n```"


READING: Mapping[str, Callable[[str], str]] = {
    "csv": _code("""
import pandas as pd

chosen = pd.read_csv(PATH, keep_default_na=False)
"""),
    "parquet": _code("""
import pandas as pd

chosen = pd.read_parquet(PATH)
"""),
    "folder": _code("""
from torchvision.datasets import ImageFolder

images = ImageFolder(PATH)  # numbers the classes by the names of their folders; manifest.csv has the labels of D2C
"""),
    "hf": _code("""
from datasets import load_dataset

images = load_dataset(PATH, split="train")  # image, label and the columns below; `split` is called source_split
"""),
    "webdataset": _code("""
import glob, webdataset

shards = sorted(glob.glob(PATH + "/shard-*.tar"))
images = webdataset.WebDataset(shards, shardshuffle=False).decode("pil").to_tuple("jpg;png;webp", "cls", "json")
"""),
    "fiftyone": _code("""
import fiftyone

images = fiftyone.Dataset.from_dir(PATH, dataset_type=fiftyone.types.FiftyOneImageClassificationDataset)
# the columns below are attributes of each label
"""),
}

"""The words of an export's signatures: what they are called, what they take, and what they say."""

from __future__ import annotations

from mvdefect.data.records import GOOD
from mvdefect.evaluation.operating_point import DEFECTIVE, REVIEW

DEFAULT, EXPLAIN = "serving_default", "explain"  # besides `pixels`, which is called as what it takes
BYTES, PIXELS = "image_bytes", "pixels"
NO_PROBABILITY = -1.0  # JSON knows no NaN
OK, UNREADABLE = "ok", "unreadable"
LABELS = (GOOD, DEFECTIVE, REVIEW, UNREADABLE)

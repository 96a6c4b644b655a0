"""The demo's photos of fruit. They are drawn, so they need no download and no licence, and are the same every time."""

from spark_job.demo.photos import BROKEN, draw

__all__ = ["BROKEN", "draw"]

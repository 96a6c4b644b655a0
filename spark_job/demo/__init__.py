"""The demo's photos of fruit, drawn rather than downloaded: no network, no licence, the same bytes every time."""

from spark_job.demo.photos import draw

__all__ = ["draw"]

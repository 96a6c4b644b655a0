"""Image features of fruit photos with Spark: MobileNetV2, PCA, Parquet."""

__version__ = "0.1.0"

"""Keeps pyarrow from importing pandas, which no part of this job uses.

pyarrow looks for pandas when it makes its first array. That takes half a second and 34 MB per process. Code that
converts Arrow's data to pandas still works: pyarrow then looks for pandas again.
"""

import sys

import pyarrow as pa


class _WithoutPandas:
    """A finder of modules (see :mod:`importlib.abc`) that does not find pandas."""

    @staticmethod
    def find_spec(name: str, *_: object) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(name)


def forget_pandas() -> None:
    """Make pyarrow's first array where pandas cannot be found."""
    sys.meta_path.insert(0, _WithoutPandas)
    try:
        pa.array([0])
    finally:
        sys.meta_path.remove(_WithoutPandas)

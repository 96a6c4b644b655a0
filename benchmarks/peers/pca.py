"""PCA as a peer's user would do it: with scikit-learn, in one process."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.decomposition import PCA

COMPONENTS = 100


def write_components(table: pa.Table, folder: Path) -> None:
    """Fit a PCA to the column ``features``, and write the components of each path."""
    features = np.stack(table["features"].to_numpy())
    components = PCA(COMPONENTS).fit_transform(features)
    folder.mkdir(parents=True)
    pq.write_table(pa.table({"path": table["path"], "pca": list(components)}), folder / "part-0.parquet")

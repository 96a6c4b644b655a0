"""A fitted PCA in Spark's standard form: a ``PipelineModel``, which pyspark can load by itself.

The folder of a ``PipelineModel`` has a line of JSON about the pipeline and about each of its stages, and a row of
Parquet with the data of each stage. Spark finds its vectors and matrices by a description of the columns in the footer.
"""

import json
import time
from typing import Any

import numpy as np
import pyarrow as pa

from spark_job.moments import Array, FittedPca
from spark_job.storage.base import Store
from spark_job.tables import Table

_CLASSES = {"centre": "feature.StandardScalerModel", "pca": "feature.PCAModel"}
"""The uids of the stages, in order, and their classes in Spark."""
_COLUMN_TYPES = b"org.apache.spark.sql.parquet.row.metadata"
_TYPES = {
    "VectorUDT": pa.struct(
        [
            ("type", pa.int8()),
            ("size", pa.int32()),
            ("indices", pa.list_(pa.int32())),
            ("values", pa.list_(pa.float64())),
        ]
    ),
    "MatrixUDT": pa.struct(
        [
            *(("type", pa.int8()), ("numRows", pa.int32()), ("numCols", pa.int32())),
            *(("colPtrs", pa.list_(pa.int32())), ("rowIndices", pa.list_(pa.int32()))),
            *(("values", pa.list_(pa.float64())), ("isTransposed", pa.bool_())),
        ]
    ),
}
"""How Spark stores vectors and matrices. Importing its own classes, ``pyspark.ml``, takes a second."""
_DENSE = 1


def save(fitted: FittedPca, store: Store, folder: str) -> None:
    """Write a fitted PCA as Spark's own models: a scaler, then a rotation.

    The pipeline reads the vector column ``features`` (see ``pyspark.ml.functions.array_to_vector``) and adds ``pca``.
    Spark's ``PCAModel`` does not subtract the mean, so a ``StandardScalerModel`` comes first.
    """
    with_std = bool((fitted.scale != 1).any())
    centre = {"inputCol": "features", "outputCol": "centred", "withMean": True, "withStd": with_std}
    rotate = {"inputCol": "centred", "outputCol": "pca", "k": fitted.k}
    _write_row(_data(store, folder, "centre"), std=_vector(fitted.scale), mean=_vector(fitted.mean))
    _write_row(
        _data(store, folder, "pca"),
        pc=_matrix(fitted.components),
        explainedVariance=_vector(fitted.explained_variance_ratio[: fitted.k]),
    )
    for uid, params in (("centre", centre), ("pca", rotate)):
        _describe(store, _stage(folder, uid), _CLASSES[uid], uid, params)
    _describe(store, folder, "PipelineModel", "PipelineModel", {"stageUids": [*_CLASSES]})


def load(store: Store, folder: str) -> FittedPca:
    """Read what :func:`save` wrote, or what Spark writes when somebody saves the loaded pipeline again.

    Raises
    ------
    OSError, pyarrow.ArrowException
        If the folder holds no such pipeline.
    """
    centre, rotate = (_read_row(_data(store, folder, uid)) for uid in _CLASSES)
    loadings = rotate["pc"]
    shape = (loadings["numRows"], loadings["numCols"])
    return FittedPca(
        mean=np.array(centre["mean"]["values"]),
        scale=np.array(centre["std"]["values"]),
        components=np.reshape(loadings["values"], shape, order="C" if loadings["isTransposed"] else "F"),
        explained_variance_ratio=np.array(rotate["explainedVariance"]["values"]),
    )


def _stage(folder: str, uid: str) -> str:
    return f"{folder}/stages/{[*_CLASSES].index(uid)}_{uid}"


def _data(store: Store, folder: str, uid: str) -> Table:
    return Table(store.uri, f"{_stage(folder, uid)}/data")


def _describe(store: Store, folder: str, kind: str, uid: str, params: dict[str, Any]) -> None:
    import pyspark

    about = {
        "class": f"org.apache.spark.ml.{kind}",
        "timestamp": int(time.time() * 1000),
        "sparkVersion": pyspark.__version__,
        "uid": uid,
        "paramMap": params,
        "defaultParamMap": {},
    }
    store.write(f"{folder}/metadata/part-00000", f"{json.dumps(about)}\n".encode())


def _vector(values: Array) -> tuple[str, dict[str, object]]:
    return "VectorUDT", {"type": _DENSE, "values": values}


def _matrix(values: Array) -> tuple[str, dict[str, object]]:
    rows, columns = values.shape
    by_column = values.ravel(order="F")
    fields = {"type": _DENSE, "numRows": rows, "numCols": columns, "values": by_column, "isTransposed": False}
    return "MatrixUDT", fields


def _write_row(table: Table, **columns: tuple[str, dict[str, object]]) -> None:
    """Write one row of vectors and matrices, each given as the name of its type and the values of its fields."""
    from pyspark.sql.pandas.types import from_arrow_type

    schema = pa.schema([(name, _TYPES[kind]) for name, (kind, _) in columns.items()])
    fields = [
        {
            "name": name,
            "nullable": True,
            "metadata": {},
            "type": {
                "type": "udt",
                "class": f"org.apache.spark.ml.linalg.{kind}",
                "pyClass": f"pyspark.ml.linalg.{kind}",
                "sqlType": from_arrow_type(_TYPES[kind]).jsonValue(),
            },
        }
        for name, (kind, _) in columns.items()
    ]
    schema = schema.with_metadata({_COLUMN_TYPES: json.dumps({"type": "struct", "fields": fields})})
    arrays = [pa.array([values], _TYPES[kind]) for kind, values in columns.values()]
    table.write("part-00000.parquet", [pa.record_batch(arrays, schema=schema)], schema)


def _read_row(table: Table) -> dict[str, Any]:
    rows: list[dict[str, Any]] = [
        row for name in table.names() for batch in table.read(name) for row in batch.to_pylist()
    ]
    if len(rows) != 1:
        raise FileNotFoundError(f"{table.folder} holds no model")
    return rows[0]

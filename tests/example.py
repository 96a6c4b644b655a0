"""A manifest, and a command, for tests that need one."""

import sys

from spark_job.manifest import Counts, Manifest, ModelRecord, PcaRecord

MANIFEST = Manifest(
    run_id="one",
    started="2026-11-22T05:00:00+00:00",
    finished="2026-11-22T05:01:00+00:00",
    input="photos",
    output="results",
    settings={"components": 0.95},
    counts=Counts(found=10, computed=7, reused=2, rejected=1),
    rejected={"truncated": 1},
    labels={"Äpfel": 9},
    model=ModelRecord("litert", "imagenet", "0" * 64, "1" * 64, "1: ..."),
    pca=PcaRecord(3, 0.95, False, 0.88, None, 9),
    seconds={"features": 1.5},
    images_per_second=7.0,
    versions={"spark": "3.5.8"},
    reused_from=None,
    retries=0,
    reused={},
    left_out={},
    findings={},
    mixed_labels={},
)

WITHOUT_SPARK = [
    *(sys.executable, "-c"),
    "import sys; sys.modules.update(dict.fromkeys(('pyspark', 'tensorflow', 'keras')));"
    "from spark_job.__main__ import main; sys.exit(main())",
]
"""The command ``fruits``, which fails if it imports Spark or TensorFlow."""

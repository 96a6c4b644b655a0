"""``python -m spark_job`` is the same as ``fruits``."""

import sys

from spark_job.cli import main

sys.exit(main())

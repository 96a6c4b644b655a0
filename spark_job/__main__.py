"""``python -m spark_job``."""

import sys

from spark_job.cli import main

sys.exit(main())

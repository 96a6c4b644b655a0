"""The command ``pack``: photos become shards, which are zip files of some 100 MB that a run reads in few requests."""

import re

SHARD_NAME = re.compile(r"photos-(\d{5,})\.zip")
"""The names of shards."""

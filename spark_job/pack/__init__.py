"""The command ``pack``: photos become shards, which are zip files of some 100 MB that a run reads in few requests."""

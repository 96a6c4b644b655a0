"""What a person does in the cloud, done on a local AWS: deploy, run, look, destroy, and all that can go wrong."""

"""A trial of a deployed stage: a run on the demo's photos, checked and measured."""

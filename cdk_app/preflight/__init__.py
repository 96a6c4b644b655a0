"""Checks of an account before a deployment: what to ask AWS, what the answers mean, and the command."""

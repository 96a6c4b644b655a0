"""The code of the clean-up's Lambda function. It imports nothing else of this project."""

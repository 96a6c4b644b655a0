"""The code of the guard's Lambda function. It imports nothing else of this project."""

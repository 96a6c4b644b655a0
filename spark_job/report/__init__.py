"""The report of a run: an HTML page with its drawings, and a summary for the terminal."""

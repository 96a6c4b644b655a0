"""Speed, memory and what grows with the work: ``make bench``. Every figure is a ratio measured in one go."""

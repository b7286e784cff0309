"""Usage of functions: series by hour and day, and answers to questions."""

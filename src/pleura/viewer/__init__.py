"""A local web page to review masks and correct them: Python server here, page in ``web``."""

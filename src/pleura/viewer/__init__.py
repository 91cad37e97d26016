"""A local page to look at masks and correct them: a small server here, its page in web/."""

"""Recipe, loss, schedule, loop and run folder."""

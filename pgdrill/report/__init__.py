"""The page that convinces a sceptic, from the records of one run."""

"""Would the unit tests notice? Code that decides verdicts is changed, one thing at a time."""

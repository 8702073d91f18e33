"""The web page: its files, the form that works without JavaScript, what it shows of a verdict."""

"""The reading page and the REST interface."""

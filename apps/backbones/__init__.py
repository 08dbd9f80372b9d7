"""The trunks that can be asked for: a table of the catalogue."""

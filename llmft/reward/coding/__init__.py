"""Programs as responses: found in the text, read for their form, run against tests in a sandbox."""

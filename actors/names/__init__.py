"""Names and groups: registries with keys of any kind, and process groups."""

"""Cards as data: one TOML file a card, with sources."""

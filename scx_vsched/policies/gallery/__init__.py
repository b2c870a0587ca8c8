"""Small policies to learn from, each with its test in tests/unit/gallery; see docs/gallery.md."""

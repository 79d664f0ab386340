"""Results: intervals and tests, tables, figures in one style, and what a run leaves behind. Nothing here samples."""

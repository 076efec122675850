"""What is on disk: one writer per file, for ever."""

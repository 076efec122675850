"""What is right and wrong by each format's document: one module per format, each with its `ROUTES`."""

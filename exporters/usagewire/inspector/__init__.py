"""The operator's page, and the receiver that tests and the demo share."""

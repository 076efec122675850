"""May it leave? Consent, the tracking plan, redaction."""

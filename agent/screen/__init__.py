"""The Enrollment Status Page: a projection of one frozen (Progress, Reporting) pair that sends back intents."""

"""Live mode: the real agent on every simulated device, over a real broker, and the audit of what came of it."""

"""The machines: enrollment, outbox and link; no input or output, no clock, no randomness of their own."""

"""The collector at the broker: what is delivered is stored, and what has to be said in return is published."""

"""Which items are stuck, and why a device is where it is."""

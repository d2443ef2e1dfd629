"""The simulator: whole fleets of devices with people in front of them, live against a broker or in simulated time."""

"""Fleets in simulated time: their figures, comparisons of versions on the same devices, and what to do next."""

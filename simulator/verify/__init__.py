"""Deterministic simulation: the production machines under every fault there is, one seed after another."""

"""The contract: the words, messages and topics that agent, collector and simulator share."""

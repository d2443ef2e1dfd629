"""Everything that concerns the broker between agents and collector: configuration, identities, rights."""

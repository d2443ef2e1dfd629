"""What the API asks the store: each module reads for one subject and writes nothing."""

"""What collected history says of a scenario's times, failures and people, and how far it can be trusted."""

"""The commands of `esp-collector`, a module for each subject: what each is given and what it prints."""

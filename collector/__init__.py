"""The collector: stores the devices' reports, decides who may enroll, and answers what happened."""

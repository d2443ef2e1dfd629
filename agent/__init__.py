"""The device-side enrollment agent: what runs on an endpoint until a person may use it."""

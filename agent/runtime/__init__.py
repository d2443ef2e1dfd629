"""The asyncio shell around the machines: ports, driver and supervision."""

"""What the product costs: figures from one run on one machine, each with the ratio to what it is compared with."""

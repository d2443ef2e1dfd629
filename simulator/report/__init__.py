"""The report folder of a what-if: page, charts and tables, made from its figures."""

"""Customers and vehicles from CSV files, as other systems and Excel write them."""

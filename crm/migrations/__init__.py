"""Alembic's scripts; `crm.migrate` runs them."""

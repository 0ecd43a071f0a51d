"""The office's console: `python -m crm`."""

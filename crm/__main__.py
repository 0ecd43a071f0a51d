"""`python -m crm`: the office's console."""

from crm.console.app import main

if __name__ == "__main__":
    main()

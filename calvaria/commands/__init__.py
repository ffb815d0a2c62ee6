"""Groups of commands of `calvaria`. Each command imports what it needs when it runs."""

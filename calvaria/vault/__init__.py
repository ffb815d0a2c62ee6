"""The vault of a skull seen from inside: where its tables lie, and where they are missing."""

"""Measuring a running server: requests at given times, one record for each, and a report made from the records afterwards."""

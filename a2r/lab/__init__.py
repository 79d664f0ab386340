"""The lab: running studies, plans, checks, the report."""

"""Studies: one module a notebook, under the same name; it computes the study's tables and draws its figures."""

"""The processes of the bookshop, in the standard library alone: what a mesh gives them is not in their code."""

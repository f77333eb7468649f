"""The cost of wsock, beside other libraries; README.md in this folder tells how to run it, and how to read it."""

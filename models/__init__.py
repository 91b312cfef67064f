"""The model zoo: a catalog of trained models, how to fetch them, and tasks to judge them by."""
